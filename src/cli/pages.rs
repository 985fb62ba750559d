//! `ipo-oci help`: the help of the subcommands, and the reference pages of `docs/`.

use std::fmt::Write as _;

use clap::builder::PossibleValuesParser;
use clap::{Args, Command};
use ipo_oci::recipe::Target;
use ipo_oci::report::text::Style;
use ipo_oci::settings::SettingsError;

use super::failure::Failure;
use super::markdown;
use super::terminal::{self, Terminal};

/// A reference page.
struct Page {
    /// The topic, which is the name of the file in `docs/`.
    topic: &'static str,
    about: &'static str,
    text: &'static str,
}

/// The page with the recipes, whose files it prints too.
const RECIPES: &str = "recipes";
/// The page with the list of frameworks and servers.
const FRAMEWORKS: &str = "frameworks";
/// The page with the rules of `check`, one section each.
const CHECKS: &str = "checks";
/// The topic of the JSON schema, which is not a page.
const SCHEMA: &str = "schema";
const SCHEMA_TEXT: &str = include_str!("../../docs/settings.schema.json");

/// Pages that other pages refer to: of one framework or server, listed by the page `frameworks`; of one system of CI; of
/// the installation.
const OTHERS: [(&str, &str); 32] = [
    ("aiohttp", include_str!("../../docs/frameworks/aiohttp.md")),
    ("blacksheep", include_str!("../../docs/frameworks/blacksheep.md")),
    ("bottle", include_str!("../../docs/frameworks/bottle.md")),
    ("connexion", include_str!("../../docs/frameworks/connexion.md")),
    ("console-script", include_str!("../../docs/frameworks/console-script.md")),
    ("dash", include_str!("../../docs/frameworks/dash.md")),
    ("django", include_str!("../../docs/frameworks/django.md")),
    ("falcon", include_str!("../../docs/frameworks/falcon.md")),
    ("fastapi", include_str!("../../docs/frameworks/fastapi.md")),
    ("flask", include_str!("../../docs/frameworks/flask.md")),
    ("gradio", include_str!("../../docs/frameworks/gradio.md")),
    ("litestar", include_str!("../../docs/frameworks/litestar.md")),
    ("nicegui", include_str!("../../docs/frameworks/nicegui.md")),
    ("pyramid", include_str!("../../docs/frameworks/pyramid.md")),
    ("quart", include_str!("../../docs/frameworks/quart.md")),
    ("sanic", include_str!("../../docs/frameworks/sanic.md")),
    ("starlette", include_str!("../../docs/frameworks/starlette.md")),
    ("streamlit", include_str!("../../docs/frameworks/streamlit.md")),
    ("tornado", include_str!("../../docs/frameworks/tornado.md")),
    ("daphne", include_str!("../../docs/servers/daphne.md")),
    ("fastapi-run", include_str!("../../docs/servers/fastapi-run.md")),
    ("granian", include_str!("../../docs/servers/granian.md")),
    ("gunicorn", include_str!("../../docs/servers/gunicorn.md")),
    ("hypercorn", include_str!("../../docs/servers/hypercorn.md")),
    ("uvicorn", include_str!("../../docs/servers/uvicorn.md")),
    ("uwsgi", include_str!("../../docs/servers/uwsgi.md")),
    ("waitress", include_str!("../../docs/servers/waitress.md")),
    ("ci", include_str!("../../docs/ci/README.md")),
    ("github", include_str!("../../docs/ci/github.md")),
    ("install", include_str!("../../docs/install.md")),
    ("quick-reference", include_str!("../../docs/quick-reference.md")),
    ("from-other-builders", include_str!("../../docs/from-other-builders.md")),
];

const PAGES: [Page; 19] = [
    Page {
        topic: "guide",
        about: "Tutorial: from an empty folder to a running container",
        text: include_str!("../../docs/guide.md"),
    },
    Page {
        topic: FRAMEWORKS,
        about: "Frameworks and servers, each with a project: `help flask`",
        text: include_str!("../../docs/frameworks/README.md"),
    },
    Page {
        topic: "from-dockerfile",
        about: "Coming from a Dockerfile: each instruction, and its setting",
        text: include_str!("../../docs/from-dockerfile.md"),
    },
    Page {
        topic: "settings",
        about: "Keys of [tool.ipo-oci], flags, variables; as JSON: `schema`",
        text: include_str!("../../docs/settings.md"),
    },
    Page {
        topic: RECIPES,
        about: "Files of settings that define an image; with a name, one file",
        text: include_str!("../../docs/recipes.md"),
    },
    Page {
        topic: "processes",
        about: "Workers, migrations, writable folders, more files",
        text: include_str!("../../docs/processes.md"),
    },
    Page {
        topic: "bases",
        about: "Base images, platforms, the lock, rebasing",
        text: include_str!("../../docs/bases.md"),
    },
    Page {
        topic: "test",
        about: "Starting an image without an engine: health, requests, stop",
        text: include_str!("../../docs/test.md"),
    },
    Page {
        topic: "run",
        about: "Running an image in the foreground, with secrets, ports and source",
        text: include_str!("../../docs/run.md"),
    },
    Page {
        topic: "registries",
        about: "References, copies, credentials, mirrors, proxies",
        text: include_str!("../../docs/registries.md"),
    },
    Page {
        topic: "cache",
        about: "The cache of this machine, and remote caches",
        text: include_str!("../../docs/cache.md"),
    },
    Page {
        topic: "report",
        about: "The size report and the plan, with their JSON fields",
        text: include_str!("../../docs/report.md"),
    },
    Page {
        topic: CHECKS,
        about: "Rules of `ipo-oci check`, with reasons and ways out",
        text: include_str!("../../docs/checks.md"),
    },
    Page {
        topic: "diff",
        about: "Sections, JSON and Markdown of `ipo-oci diff`",
        text: include_str!("../../docs/diff.md"),
    },
    Page {
        topic: "verify",
        about: "Rules of `ipo-oci verify`, and faults that it cannot notice",
        text: include_str!("../../docs/verify.md"),
    },
    Page {
        topic: "deploy",
        about: "Compose, Kubernetes and others, from the images and a few settings",
        text: include_str!("../../docs/deploy.md"),
    },
    Page {
        topic: "troubleshooting",
        about: "Errors and warnings, with causes and remedies",
        text: include_str!("../../docs/troubleshooting.md"),
    },
    Page {
        topic: "performance",
        about: "Measured durations and sizes",
        text: include_str!("../../docs/performance.md"),
    },
    Page {
        topic: "decisions",
        about: "Reasons for the formats and defaults",
        text: include_str!("../../docs/decisions.md"),
    },
];

/// The commands with help.
pub(super) const COMMANDS: [&str; 21] = [
    "build",
    "init",
    "check",
    "context",
    "explain",
    "ls",
    "cat",
    "lock",
    "test",
    "run",
    "copy",
    "inspect",
    "verify",
    "diff",
    "deploy",
    "resolve",
    "index",
    "rebase",
    "cache",
    "completions",
    "help",
];

/// Arguments of `ipo-oci help`.
#[derive(Args, Debug)]
pub(crate) struct HelpArguments {
    /// Command or topic
    #[arg(index = 1, value_name = "COMMAND|TOPIC", hide_possible_values = true)]
    name: Option<String>,
    /// Command of a command, such as `prune` of `cache`, or one of the `recipes`
    #[arg(index = 2, value_name = "SUBCOMMAND|RECIPE")]
    subcommand: Option<String>,
}

/// Topics without a line of their own in the list, like those of commands: the list fits a screen.
const SHORT: [&str; 8] =
    [RECIPES, "processes", "bases", "registries", "report", CHECKS, "performance", "decisions"];

/// Returns the list of topics.
pub(super) fn topics() -> String {
    let width = PAGES.iter().map(|page| page.topic.len()).max().unwrap_or(0);
    let mut text = "Topics, printed by `ipo-oci help TOPIC`:".to_owned();
    let (short, listed): (Vec<&Page>, Vec<&Page>) =
        PAGES.iter().partition(|page| SHORT.contains(&page.topic) || COMMANDS.contains(&page.topic));
    for Page { topic, about, .. } in listed {
        let _ = write!(text, "\n  {topic:width$}  {about}");
    }
    // The list of commands names the others.
    let short = short.into_iter().map(|page| page.topic).filter(|topic| !COMMANDS.contains(topic));
    let short: Vec<&str> = short.collect();
    let _ = write!(text, "\n  {}", short.join(", "));
    text
}

/// Limits the argument of `help` to the subcommands and topics.
pub(super) fn with_names(command: Command) -> Command {
    let topics =
        PAGES.iter().map(|page| page.topic).chain([SCHEMA]).filter(|topic| !COMMANDS.contains(topic));
    let topics = topics.chain(OTHERS.map(|(topic, _)| topic));
    let names: Vec<&str> = COMMANDS.into_iter().chain(topics).collect();
    command.mut_subcommand("help", |help| {
        help.mut_arg("name", |argument| argument.value_parser(PossibleValuesParser::new(names)))
    })
}

/// Prints the help of a command of `program` and the page of the same name, or a file.
pub(crate) fn run(
    arguments: &HelpArguments,
    mut program: Command,
    terminal: &Terminal,
) -> Result<(), Failure> {
    match (arguments.name.as_deref(), arguments.subcommand.as_deref()) {
        (Some(RECIPES), Some(name)) => {
            let target: Target = name.parse().map_err(|error: SettingsError| Failure::argument(error))?;
            return terminal.bytes(target.text().as_bytes());
        }
        (Some(SCHEMA), None) => return terminal.bytes(SCHEMA_TEXT.as_bytes()),
        _ => {}
    }
    program.build();
    let names = arguments.name.iter().chain(&arguments.subcommand);
    let page = arguments.name.as_deref().filter(|_| arguments.subcommand.is_none()).and_then(text_of);
    let mut command = Some(&mut program);
    let mut known = "ipo-oci".to_owned();
    for name in names {
        let Some(found) = command.and_then(|command| command.find_subcommand_mut(name)) else {
            command = None;
            break;
        };
        known = format!("{known} {name}");
        command = Some(found);
    }
    if command.is_none() && page.is_none() {
        let asked = arguments.subcommand.as_deref().unwrap_or_default();
        return Err(Failure::usage(
            format!("subcommand not found: {known} {asked}"),
            format!("run `{known} --help` for the subcommands"),
        ));
    }
    let style = terminal::standard_output_style();
    let mut text = String::new();
    if let Some(command) = command {
        let help = command.render_long_help();
        text = match style {
            Style::Plain => help.to_string(),
            Style::Colored => help.ansi().to_string(),
        };
    }
    if let Some(page) = page {
        if !text.is_empty() {
            text.push('\n');
        }
        text += &markdown::render(page, terminal::width(), style, &link);
    }
    terminal.bytes(text.as_bytes())
}

/// Returns the section of the page `checks` about the rule `code`, rendered for the terminal.
pub(super) fn rule(code: &str) -> Option<String> {
    let heading = format!("### {code} ");
    let page = text_of(CHECKS)?;
    let start = page.find(&heading)?;
    let section = page.get(start..)?;
    let end = section[1..].find("\n## ").into_iter().chain(section[1..].find("\n### ")).min();
    let section = end.map_or(section, |end| &section[..end + 2]);
    Some(markdown::render(section, terminal::width(), terminal::standard_output_style(), &link))
}

/// Returns the command that prints the file at a destination, or a remote address.
fn link(destination: &str) -> Option<String> {
    if destination.starts_with("https://") {
        return Some(destination.to_owned());
    }
    if destination == "settings.schema.json" {
        return Some(format!("ipo-oci help {SCHEMA}"));
    }
    if let Some(recipe) = destination.strip_prefix("../layers/").and_then(|file| file.strip_suffix(".toml")) {
        return Some(format!("ipo-oci help {RECIPES} {recipe}"));
    }
    let file = destination.split('#').next()?.trim_start_matches("../");
    let file =
        ["frameworks/", "servers/"].into_iter().find_map(|folder| file.strip_prefix(folder)).unwrap_or(file);
    let topic = match file {
        "README.md" => FRAMEWORKS,
        "ci/README.md" => "ci",
        file => file.strip_prefix("ci/").unwrap_or(file).strip_suffix(".md")?,
    };
    text_of(topic).map(|_| format!("ipo-oci help {topic}"))
}

/// Returns the page about a topic.
fn text_of(topic: &str) -> Option<&'static str> {
    let pages = PAGES.iter().map(|page| (page.topic, page.text)).chain(OTHERS);
    pages.into_iter().find(|(known, _)| *known == topic).map(|(_, text)| text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_has_a_section() {
        for known in ipo_oci::check::RULES {
            let section = rule(known.code).unwrap_or_else(|| panic!("{} has no section", known.code));
            assert!(section.contains(known.name), "{}: {section}", known.code);
        }
    }

    #[test]
    fn pages_link_to_printed_files_only() {
        for (topic, text) in PAGES.iter().map(|page| (page.topic, page.text)).chain(OTHERS) {
            let files = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
            let is_image = |file: &str| [".png", ".svg"].iter().any(|suffix| file.ends_with(suffix));
            for file in files.filter(|file| !file.is_empty() && !is_image(file)) {
                assert!(link(file).is_some(), "{topic}: {file}");
            }
        }
    }
}
