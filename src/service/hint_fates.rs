//! The fate of each hint of a repository: the words of its commands that were taken, and those that
//! were not.

use super::find::{Finding, Service};
use super::hints::{CommandHint, Dockerfile, HintRole, Hints};
use super::server::Server;

/// The most packages named.
const MOST_PACKAGES: usize = 8;

/// Returns a finding for each hint: the commands with what became of them, and system packages.
pub(crate) fn fates(hints: &Hints, service: Option<&Service>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = hints.commands.iter().map(|hint| fate(hint, service)).collect();
    if let Some(problem) = hints.dockerfile.as_ref().and_then(Dockerfile::refused) {
        findings.push(Finding::new("hint", "the Dockerfile", problem));
    }
    findings.extend(hints.built.iter().map(|built| {
        let evidence = format!(
            "{}:{}; made by {}: run it before a build, and add {}",
            built.evidence.file,
            built.evidence.line,
            built.maker(),
            built.table()
        );
        Finding::new("hint", format!("files {}", built.from), evidence)
    }));
    if let [_, ..] = hints.other_dockerfiles.as_slice() {
        let files: Vec<&str> = hints.other_dockerfiles.iter().map(|(file, _)| file.as_str()).collect();
        let read = hints.dockerfile.as_ref().map_or("", |dockerfile| &dockerfile.file);
        let way = format!("{read} is read instead; ipo-oci init --from FILE takes over another");
        findings.push(Finding::new("hint", files.join(", "), way));
    }
    if let Some((port, place)) = &hints.port {
        let evidence = format!("{}:{}; set port to use it", place.file, place.line);
        findings.push(Finding::new("hint", format!("port {port}"), evidence));
    }
    if let Some((path, place)) = &hints.health_path {
        let evidence = format!("{}:{}; set healthcheck to use it", place.file, place.line);
        findings.push(Finding::new("hint", format!("health check {path}"), evidence));
    }
    if let [(_, place), ..] = &hints.system_packages[..] {
        let names: Vec<&str> = hints.system_packages.iter().map(|(name, _)| name.as_str()).collect();
        let shown = names.iter().take(MOST_PACKAGES).copied().collect::<Vec<_>>().join(", ");
        let more = names.len().saturating_sub(MOST_PACKAGES);
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let evidence = format!("{}:{}; not installed: use a base that has them", place.file, place.line);
        findings.push(Finding::new("hint", format!("system packages {shown}{more}"), evidence));
    }
    findings
}

fn fate(hint: &CommandHint, service: Option<&Service>) -> Finding {
    let place = format!("{}:{}", hint.evidence.file, hint.evidence.line);
    let words = match &hint.words {
        Ok(words) => words,
        Err(construct) => {
            let reason = format!("{place}; not read: {construct} needs a shell");
            return Finding::new("hint", hint.evidence.text.clone(), reason);
        }
    };
    let fate = match &hint.role {
        HintRole::Release => "not run; a command for each release".to_owned(),
        HintRole::Prepare => "not run; makes files of the image".to_owned(),
        HintRole::Process(name) => format!("not run; the process {name}"),
        HintRole::Web => web(words, service),
    };
    let unread = if hint.unread.is_empty() {
        String::new()
    } else {
        format!("; unknown before a container starts: {}", hint.unread.join(", "))
    };
    Finding::new("hint", words.join(" "), format!("{place}; {fate}{unread}"))
}

/// Returns the fate of the words of a command that starts the service.
fn web(words: &[String], service: Option<&Service>) -> String {
    let Some(service) = service else { return "not used".to_owned() };
    let command = &service.program.command;
    // A console script that is not installed is called by code.
    let is_code = command.first().is_some_and(|word| word == "{python}")
        && command.get(1).is_some_and(|word| word == "-c");
    let first = if is_code { 3 } else { 1 };
    // Of a word that follows the port, `--port={port}`, the beginning counts.
    let is_word = |(used, word): (&String, &String)| {
        used.trim_start_matches("./") == word.trim_start_matches("./")
            || used.split_once("{port}").is_some_and(|(start, _)| word.starts_with(start))
    };
    let (used, given) = (command.get(first..).unwrap_or_default(), words.get(1..).unwrap_or_default());
    let name = |words: &[String]| {
        let program = words.first().map_or("", |program| program.rsplit('/').next().unwrap_or(program));
        program.trim_matches(['{', '}']).to_owned()
    };
    let is_same_program = first == 3 || name(command) == name(words);
    if is_same_program && used.len() >= given.len() && used.iter().zip(given).all(is_word) {
        return match used.get(given.len()..).unwrap_or_default() {
            [] => "used".to_owned(),
            added if Server::of(words).is_none() => format!("used, with {}", added.join(" ")),
            _ => "application and server used".to_owned(),
        };
    }
    let Some(server) = Server::of(words) else { return "not used".to_owned() };
    let is_same = Server::of(&service.program.command).is_some_and(|chosen| chosen.kind == server.kind);
    let options: Vec<&str> =
        server.arguments().iter().map(String::as_str).filter(|word| word.starts_with('-')).collect();
    let taken = match (&service.application, is_same) {
        (Some(_), true) => "application and server used",
        (Some(_), false) => "application used",
        (None, true) => "server used",
        (None, false) => "not used",
    };
    if options.is_empty() {
        return taken.to_owned();
    }
    format!("{taken}, without its options {}", options.join(" "))
}
