//! [`BuiltFiles`]: files that another stage makes and the last one copies, such as a built front end.

use std::path::Path;

use super::{Dockerfile, Stage, strip};
use crate::service::hints::Evidence;
use crate::service::hints::command::{CommandKind, kind};
use crate::service::hints::command_reader::join;

/// Images of languages whose stages make files.
const MAKERS: [&str; 4] = ["node", "bun", "deno", "hugo"];
/// The folder of the source in an image.
const SOURCE: &str = "/app";

/// A folder or file that a stage makes for the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BuiltFiles {
    /// The command that makes it.
    pub(crate) command: Option<String>,
    /// The project's folder in which the command runs; empty for the root.
    pub(crate) folder: String,
    /// The path in the project.
    pub(crate) from: String,
    /// The path in an image.
    pub(crate) to: String,
    /// The `COPY`.
    pub(crate) evidence: Evidence,
}

impl BuiltFiles {
    /// Returns the table that takes the files into an image, on one line.
    pub(crate) fn table(&self) -> String {
        format!("[[tool.ipo-oci.files]] with from = \"{}\" and to = \"{}\"", self.from, self.to)
    }

    /// Returns the command and its folder.
    pub(crate) fn maker(&self) -> String {
        let command =
            self.command.as_deref().map_or("its stage's command".to_owned(), |text| format!("`{text}`"));
        if self.folder.is_empty() { command } else { format!("{command} in {}/", self.folder) }
    }
}

impl Dockerfile {
    /// Returns the files that other stages make for the last one.
    pub(in crate::service::hints) fn built_files(&self, root: &Path) -> Vec<BuiltFiles> {
        let Some(target) = self.target() else { return Vec::new() };
        let mut found: Vec<BuiltFiles> = Vec::new();
        for copy in &target.copies {
            let stage =
                copy.from.as_ref().and_then(|from| self.stage_named(from).or_else(|| from.parse().ok()));
            let Some((index, stage)) = stage.and_then(|index| Some((index, self.stages.get(index)?))) else {
                continue;
            };
            let command = self.making_command(stage);
            if target.has(Some(index)) || (command.is_none() && !is_maker(stage)) {
                continue;
            }
            for source in &copy.sources {
                let path = join(Some("/"), source);
                let first = |path: &str| self.sources(root, index, path, 0).into_iter().next();
                let Some(from) = first(&path).filter(|from| !from.is_empty()) else { continue };
                let folder = first(&stage.workdir).unwrap_or_default();
                let to = self.place(root, target, &copy.destination);
                let (command, evidence) = (command.clone(), copy.evidence.clone());
                found.push(BuiltFiles { command, folder, from, to, evidence });
            }
        }
        found
    }

    /// Returns the last command of a stage that makes files: `npm run build`.
    fn making_command(&self, stage: &Stage) -> Option<String> {
        let instructions = self.instructions.iter().rev().filter(|(_, index)| stage.has(*index));
        let runs = instructions.filter(|(run, _)| run.keyword == "RUN" && !run.is_onbuild);
        let mut words = runs.flat_map(|(run, _)| self.steps_of(run)).filter_map(|step| step.words.ok());
        words.find(|words| kind(words) == CommandKind::Preparation).map(|words| words.join(" "))
    }

    /// Returns the place in an image of a path in the Dockerfile's.
    fn place(&self, root: &Path, target: &Stage, path: &str) -> String {
        let path = path.trim_end_matches('/');
        match strip(path, &target.workdir).filter(|_| target.workdir != "/") {
            Some(rest) => {
                let folder = self.directory(root).unwrap_or_default();
                join(Some(&join(Some(SOURCE), &folder)), rest)
            }
            None => path.to_owned(),
        }
    }
}

fn is_maker(stage: &Stage) -> bool {
    let image =
        stage.base.as_ref().map_or("", |(image, _)| image.split([':', '@']).next().unwrap_or_default());
    image.rsplit('/').next().is_some_and(|name| MAKERS.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::folder;

    #[test]
    fn the_files_of_a_front_end_have_their_place_in_the_project() {
        let built = |text: &str| {
            let root = folder(&[("web/package.json", ""), ("api/app.py", "")]);
            let found = Dockerfile::parse("Dockerfile", text).built_files(root.path());
            found
                .iter()
                .map(|built| format!("{} -> {}: {}", built.from, built.to, built.maker()))
                .collect::<Vec<_>>()
        };
        let front = "FROM node:22 AS front\nWORKDIR /web\nCOPY web/package.json ./\nCOPY web/ ./\nRUN npm ci && npm run build\n";
        assert_eq!(
            built(&format!(
                "{front}FROM python\nWORKDIR /srv\nCOPY api/ .\nCOPY --from=front /web/dist ./static\n"
            )),
            ["web/dist -> /app/api/static: `npm run build` in web/"]
        );
        assert_eq!(
            built(&format!("{front}FROM python\nCOPY --from=0 /web/dist/ /var/www/\n")),
            ["web/dist -> /var/www: `npm run build` in web/"]
        );
        // Tools and environments are no built files.
        for text in [
            "FROM ghcr.io/astral-sh/uv AS uv\nFROM python\nCOPY --from=uv /uv /bin/\n",
            "FROM python AS build\nCOPY . /src\nRUN pip install /src\nFROM python\nCOPY --from=build /src /app\n",
        ] {
            assert_eq!(built(text), [""; 0], "{text}");
        }
    }
}
