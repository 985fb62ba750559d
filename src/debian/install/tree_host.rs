//! [`TreeHost`]: the commands of postinst scripts that change single files, applied to the tree: `mkdir`, `install -d`,
//! `touch`, `ln`, `cp`, `rm`, `chmod`, `chown`, `dpkg-statoverride`, ucf(1), and the default answers of debconf.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::InstallError;
use super::package_tree::{FollowedLinks, PackageTree, TreeNode};
use super::shell::{ScriptHost, TestOutcome};
use super::unpack::UnpackedPackage;
use crate::tree::{Entry, ImagePath, Kind, Owner};

/// Directories of a running system.
const VOLATILE: [&str; 4] = ["dev", "proc", "sys", "tmp"];
const ODBC_DRIVERS: &str = "etc/odbcinst.ini";
/// The largest file that `cp` copies: configuration, not data.
const COPY_LIMIT: u64 = 1 << 20;

/// The file system of all packages, in which one package's script runs.
pub(super) struct TreeHost<'a, 't> {
    tree: &'a mut PackageTree<'t>,
    owner: Owner,
    answers: BTreeMap<String, String>,
    umask: u32,
    failure: Option<InstallError>,
}

/// The options and other arguments of a command.
struct CommandArguments<'a> {
    flags: Vec<char>,
    values: BTreeMap<char, &'a str>,
    paths: Vec<&'a str>,
}

impl<'a> CommandArguments<'a> {
    /// Splits `words`; `flags` are the options without a value, `valued` those with one. `None` for any other option.
    fn parse(words: &[&'a str], flags: &str, valued: &str) -> Option<Self> {
        let mut parsed = Self { flags: Vec::new(), values: BTreeMap::new(), paths: Vec::new() };
        let mut words = words.iter();
        let mut are_options = true;
        while let Some(word) = words.next() {
            let Some(option) = word.strip_prefix('-').filter(|option| are_options && !option.is_empty())
            else {
                parsed.paths.push(word);
                continue;
            };
            if option == "-" {
                are_options = false;
                continue;
            }
            for (at, letter) in option.char_indices() {
                if valued.contains(letter) {
                    let rest = option.get(at + letter.len_utf8()..).filter(|rest| !rest.is_empty());
                    parsed.values.insert(letter, rest.or_else(|| words.next().copied())?);
                    break;
                }
                flags.contains(letter).then(|| parsed.flags.push(letter))?;
            }
        }
        Some(parsed)
    }

    fn has(&self, flag: char) -> bool {
        self.flags.contains(&flag)
    }
}

/// A change of the attributes of a file.
#[derive(Debug, Clone, Copy, Default)]
struct AttributeChange {
    mode: Option<u32>,
    uid: Option<u32>,
    gid: Option<u32>,
}

impl AttributeChange {
    fn apply(self, entry: &mut Entry) {
        if !matches!(entry.kind, Kind::Symlink(_)) {
            entry.mode = self.mode.unwrap_or(entry.mode);
        }
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
    }
}

impl<'a, 't> TreeHost<'a, 't> {
    pub(super) fn new(package: &UnpackedPackage, tree: &'a mut PackageTree<'t>) -> Self {
        let templates = package.control.file_text("templates").unwrap_or_default();
        Self { tree, owner: package.owner(), answers: answers(&templates), umask: 0o022, failure: None }
    }

    /// Returns the first failure to read a file.
    pub(super) fn finish(self) -> Result<(), InstallError> {
        self.failure.map_or(Ok(()), Err)
    }

    fn node(&self, path: &str, follow: FollowedLinks) -> Option<(ImagePath, TreeNode)> {
        let place = self.tree.resolve(path, follow)?;
        let node = self.tree.node(&place)?;
        Some((place, node))
    }

    /// Reads a small file of this layer or of `/etc`; `None` without one.
    fn read(&mut self, path: &str) -> Option<String> {
        let place = self.tree.resolve(path, FollowedLinks::All)?;
        if self.tree.entry(&place).is_none() && !place.as_str().starts_with("etc/") {
            return None;
        }
        match self.tree.read_text(path) {
            Ok(text) => text,
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }

    /// Returns the number of a name in `/etc/passwd` or `/etc/group`.
    fn number(&mut self, file: &str, name: &str) -> Option<u32> {
        if let Ok(number) = name.parse() {
            return Some(number);
        }
        let text = self.read(file)?;
        let mut lines = text.lines().map(|line| line.split(':').collect::<Vec<_>>());
        lines.find_map(|fields| match fields.as_slice() {
            [found, _, number, ..] if *found == name => number.parse().ok(),
            _ => None,
        })
    }

    /// Parses `USER`, `USER:GROUP` and `:GROUP`.
    fn owners(&mut self, text: &str) -> Option<AttributeChange> {
        let (user, group) = text.split_once([':', '.']).unwrap_or((text, ""));
        let mut change = AttributeChange::default();
        if !user.is_empty() {
            change.uid = Some(self.number("etc/passwd", user)?);
        }
        if !group.is_empty() {
            change.gid = Some(self.number("etc/group", group)?);
        }
        Some(change)
    }

    /// Adds an entry or replaces one; `None` below a file, or for a file with other names.
    fn insert(&mut self, entry: Entry) -> Option<()> {
        let is_directory = |node: Option<TreeNode>| matches!(node, None | Some(TreeNode::Directory));
        let has_parents = entry.path.parents().all(|parent| is_directory(self.tree.node(&parent)));
        (has_parents && !self.has_names(&entry.path)).then(|| self.tree.insert(entry))
    }

    /// Returns true for a file that has other names.
    fn has_names(&self, path: &ImagePath) -> bool {
        let is_name = |entry: &Entry| matches!(&entry.kind, Kind::HardLink(first) if first == path);
        self.tree.entry(path).is_some() && self.tree.entries().any(is_name)
    }

    /// Adds missing directories with their attributes.
    fn directories(&mut self, paths: &[&str], change: AttributeChange) -> Option<TestOutcome> {
        for path in paths {
            absolute(path)?;
            let place = self.tree.resolve(path, FollowedLinks::All)?;
            match self.tree.node(&place) {
                Some(TreeNode::Directory) if self.tree.entry(&place).is_none() => {}
                Some(TreeNode::Directory) => change.apply(self.tree.entry_mut(&place)?),
                Some(_) => return Some(TestOutcome::Failure),
                None => {
                    let mode = 0o777 & !self.umask;
                    let mut entry = Entry::directory(place, self.owner.clone()).with_mode(mode);
                    change.apply(&mut entry);
                    self.insert(entry)?;
                }
            }
        }
        Some(TestOutcome::Success)
    }

    fn mkdir(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let arguments = CommandArguments::parse(words, "pv", "m")?;
        let exists = arguments.paths.iter().any(|path| self.tree.exists(path));
        if exists && !arguments.has('p') {
            return Some(TestOutcome::Failure);
        }
        let mode = arguments.values.get(&'m').map_or(Some(None), |mode| octal(mode).map(Some))?;
        let new: Vec<&str> = arguments.paths.into_iter().filter(|path| !self.tree.exists(path)).collect();
        self.directories(&new, AttributeChange { mode, ..AttributeChange::default() })
    }

    fn install(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let arguments = CommandArguments::parse(words, "dDv", "mog")?;
        if !arguments.has('d') {
            return None;
        }
        let mode = arguments.values.get(&'m').map_or(Some(None), |mode| octal(mode).map(Some))?;
        let uid = match arguments.values.get(&'o') {
            Some(name) => Some(self.number("etc/passwd", name)?),
            None => None,
        };
        let gid = match arguments.values.get(&'g') {
            Some(name) => Some(self.number("etc/group", name)?),
            None => None,
        };
        self.directories(&arguments.paths, AttributeChange { mode, uid, gid })
    }

    fn touch(&mut self, words: &[&str]) -> Option<TestOutcome> {
        for path in CommandArguments::parse(words, "acm", "")?.paths {
            absolute(path)?;
            let place = self.tree.resolve(path, FollowedLinks::All)?;
            if self.tree.node(&place).is_none() {
                let entry = Entry::file(place, "".into(), self.owner.clone());
                self.insert(entry.with_mode(0o666 & !self.umask))?;
            }
        }
        Some(TestOutcome::Success)
    }

    fn ln(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let arguments = CommandArguments::parse(words, "sfnvT", "")?;
        let [target, link] = arguments.paths.as_slice() else { return None };
        if !arguments.has('s') || target.is_empty() {
            return None;
        }
        absolute(link)?;
        let mut link = (*link).to_owned();
        let follow = if arguments.has('n') { FollowedLinks::Parents } else { FollowedLinks::All };
        let is_directory = matches!(self.node(&link, follow), Some((_, TreeNode::Directory)));
        if is_directory && !arguments.has('T') {
            link = format!("{link}/{}", target.rsplit('/').next()?);
        }
        match self.node(&link, FollowedLinks::Parents) {
            Some((_, TreeNode::Directory)) => return Some(TestOutcome::Failure),
            Some(_) if !arguments.has('f') => return Some(TestOutcome::Failure),
            None | Some(_) => {}
        }
        let place = self.tree.resolve(&link, FollowedLinks::Parents)?;
        self.insert(Entry::symlink(place, *target, self.owner.clone()))?;
        Some(TestOutcome::Success)
    }

    /// Copies one file; a file at the new path stays with `is_kept`.
    fn copy(&mut self, from: &str, to: &str, is_kept: bool) -> Option<TestOutcome> {
        absolute(from).and(absolute(to))?;
        let (source, TreeNode::File) = self.node(from, FollowedLinks::All)? else { return None };
        let (content, mode) = match self.tree.entry(&source) {
            Some(Entry { kind: Kind::File(content), mode, .. }) if content.size_hint() <= COPY_LIMIT => {
                (content.clone(), *mode)
            }
            _ => return None,
        };
        let mut to = to.to_owned();
        if let Some((_, TreeNode::Directory)) = self.node(&to, FollowedLinks::All) {
            to = format!("{to}/{}", from.rsplit('/').next()?);
        }
        let place = self.tree.resolve(&to, FollowedLinks::All)?;
        if is_kept && self.tree.node(&place).is_some() {
            return Some(TestOutcome::Success);
        }
        if self.tree.node(&place) == Some(TreeNode::Directory) {
            return None;
        }
        self.insert(Entry::file(place, content, self.owner.clone()).with_mode(mode))?;
        Some(TestOutcome::Success)
    }

    fn ucf(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let mut paths = Vec::new();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--debconf-template" | "--src-dir" | "--sum-file" | "--state-dir" => drop(words.next()),
                option if option.starts_with('-') => {}
                path => paths.push(path),
            }
        }
        let [from, to] = paths.as_slice() else { return None };
        self.copy(from, to, true)
    }

    /// Removes links and files that packages or their scripts made.
    fn rm(&mut self, words: &[&str]) -> Option<TestOutcome> {
        for path in CommandArguments::parse(words, "fv", "")?.paths {
            absolute(path)?;
            match self.node(path, FollowedLinks::Parents) {
                None => {}
                Some((place, TreeNode::File | TreeNode::Symlink(_))) if !self.has_names(&place) => {
                    self.tree.remove(&place)?;
                }
                Some(_) => return None,
            }
        }
        Some(TestOutcome::Success)
    }

    /// Changes the attributes of files of this layer, and of everything below them with `is_recursive`.
    fn change(&mut self, paths: &[&str], is_recursive: bool, change: AttributeChange) -> Option<TestOutcome> {
        for path in paths {
            absolute(path)?;
            let place = self.tree.resolve(path, FollowedLinks::All)?;
            let mut places = vec![place.clone()];
            if is_recursive {
                places.extend(self.tree.below(&place).map(|entry| entry.path.clone()));
            }
            for place in places {
                // The attributes of a file with several names are those of the first.
                let first = match &self.tree.entry(&place)?.kind {
                    Kind::HardLink(first) => Some(first.clone()),
                    _ => None,
                };
                for place in [Some(place), first].into_iter().flatten() {
                    change.apply(self.tree.entry_mut(&place)?);
                }
            }
        }
        Some(TestOutcome::Success)
    }

    fn chmod(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let arguments = CommandArguments::parse(words, "fv", "")?;
        let (mode, paths) = arguments.paths.split_first()?;
        let mode = Some(octal(mode)?);
        self.change(paths, false, AttributeChange { mode, ..AttributeChange::default() })
    }

    fn chown(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let arguments = CommandArguments::parse(words, "fhvR", "")?;
        let (owners, paths) = arguments.paths.split_first()?;
        let change = self.owners(owners)?;
        self.change(paths, arguments.has('R'), change)
    }

    fn statoverride(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let words: Vec<&str> = words
            .iter()
            .copied()
            .filter(|word| !matches!(*word, "--quiet" | "--force" | "--update"))
            .collect();
        match words.as_slice() {
            ["--list", ..] => Some(TestOutcome::Failure),
            ["--add", user, group, mode, path] => {
                let change = self.owners(&format!("{user}:{group}"))?;
                self.change(&[path], false, AttributeChange { mode: Some(octal(mode)?), ..change })
            }
            _ => None,
        }
    }

    /// Adds the drivers of a template to the list of unixODBC, which its programs and Python's `pyodbc` read.
    fn odbcinst(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let ["-i", "-d", "-f", template] = words else { return None };
        let added = self.read(template)?;
        let mut list = self.read(ODBC_DRIVERS).unwrap_or_default();
        for line in added.lines().map(str::trim) {
            match line.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
                Some((_, "")) => {}
                Some((key, value)) => {
                    let _ = writeln!(list, "{key}={value}");
                }
                None if line.starts_with('[') => {
                    if !list.is_empty() {
                        list.push('\n');
                    }
                    let _ = writeln!(list, "{line}\nUsageCount=1");
                }
                None => {}
            }
        }
        self.tree.write_file(ODBC_DRIVERS, list, &self.owner);
        Some(TestOutcome::Success)
    }

    /// Searches a file of this layer or of `/etc` for a word.
    fn grep(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let ["-q", word, path] = words else { return None };
        let is_word = word.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let is_read = path.starts_with("/etc/") && !path.starts_with("/etc/ssl/");
        if !is_word || !is_read {
            return None;
        }
        Some(TestOutcome::of(self.read(path).is_some_and(|text| text.contains(word))))
    }

    fn getent(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let (["passwd" | "group", name], Some(database)) = (words, words.first()) else { return None };
        Some(TestOutcome::of(self.number(&format!("etc/{database}"), name).is_some()))
    }
}

impl ScriptHost for TreeHost<'_, '_> {
    fn test(&self, operator: &str, path: &str) -> TestOutcome {
        let first = path.split('/').find(|part| !part.is_empty()).unwrap_or_default();
        if VOLATILE.contains(&first) {
            return TestOutcome::Unknown;
        }
        let follow =
            if matches!(operator, "-h" | "-L") { FollowedLinks::Parents } else { FollowedLinks::All };
        let Some((place, node)) = self.node(path, follow) else { return TestOutcome::Failure };
        TestOutcome::of(match operator {
            "-d" => node == TreeNode::Directory,
            "-f" => node == TreeNode::File,
            "-h" | "-L" => matches!(node, TreeNode::Symlink(_)),
            "-x" => self.tree.entry(&place).is_none_or(|entry| entry.mode & 0o111 != 0),
            "-s" => return TestOutcome::Unknown,
            _ => true,
        })
    }

    fn answer(&self, question: &str) -> Option<String> {
        self.answers.get(question).cloned()
    }

    fn run(&mut self, words: &[&str]) -> Option<TestOutcome> {
        let (program, arguments) = words.split_first()?;
        match program.rsplit('/').next().unwrap_or(program) {
            "mkdir" => self.mkdir(arguments),
            "install" => self.install(arguments),
            "touch" => self.touch(arguments),
            "ln" => self.ln(arguments),
            "rm" => self.rm(arguments),
            "cp" => {
                let parsed = CommandArguments::parse(arguments, "afpv", "")?;
                let [from, to] = parsed.paths.as_slice() else { return None };
                self.copy(from, to, false)
            }
            "ucf" => self.ucf(arguments),
            "chmod" => self.chmod(arguments),
            "chown" => self.chown(arguments),
            "chgrp" => {
                let (group, paths) = arguments.split_first()?;
                self.chown(&[&[&*format!(":{group}")], paths].concat())
            }
            "dpkg-statoverride" => self.statoverride(arguments),
            // The list of Graphviz's plugins, made by `configure` if it could be.
            "libgvc6-config-update" => {
                let is_list = |entry: &Entry| entry.path.as_str().ends_with("/graphviz/config6a");
                self.tree.entries().any(is_list).then_some(TestOutcome::Success)
            }
            "umask" => {
                self.umask = octal(arguments.first()?)?;
                Some(TestOutcome::Success)
            }
            "odbcinst" => self.odbcinst(arguments),
            "grep" => self.grep(arguments),
            "getent" => self.getent(arguments),
            _ => None,
        }
    }
}

/// Refuses a path below a directory that is not known.
fn absolute(path: &str) -> Option<()> {
    path.starts_with('/').then_some(())
}

/// Parses a mode of digits.
fn octal(text: &str) -> Option<u32> {
    u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777)
}

/// Returns the default answers of templates, debconf-devel(7).
fn answers(templates: &str) -> BTreeMap<String, String> {
    let mut answers = BTreeMap::new();
    for paragraph in templates.split("\n\n") {
        let field = |name: &str| {
            let mut lines = paragraph.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(key, _)| *key == name).map(|(_, value)| value.trim().to_owned())
        };
        if let Some(question) = field("Template") {
            answers.insert(question, field("Default").unwrap_or_default());
        }
    }
    answers
}
