//! [`ApplicationError`]: errors of finding an application.

use crate::error::Advice;

/// Errors of finding an application.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// None of the searched files exists.
    #[error("application not found: none of {} is in the source tree", .files.join(", "))]
    NoFile {
        /// The searched files.
        files: Vec<String>,
        /// Applications in other files, as `MODULE:ATTRIBUTE` or `MODULE:FUNCTION()`.
        proposed: Vec<String>,
    },
    /// The ignore file excludes the source.
    #[error("application not found: the lines of the ignore file leave no Python file")]
    Ignored,
    /// The searched files define no application.
    #[error("application not found: {} {} no application of a known framework", .files.join(", "), if .files.len() == 1 { "has" } else { "have" })]
    NoObject {
        /// The files.
        files: Vec<String>,
        /// Functions in them that make an application, as `MODULE:FUNCTION()`, or else applications in
        /// other files.
        proposed: Vec<String>,
    },
    /// A searched file is no Python of a known version, and the others define no application.
    #[error("application not found: {file} does not parse in line {line}: {reason}")]
    Unparsed {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// The parser's message.
        reason: String,
    },
    /// The module does not define the object.
    #[error("application `{application}` not found: {file} does not define `{attribute}`")]
    NoAttribute {
        /// The application, as given.
        application: String,
        /// The module's file.
        file: String,
        /// The missing name.
        attribute: String,
        /// Similar names in the module, and applications, as `MODULE:ATTRIBUTE` or
        /// `MODULE:FUNCTION()`; the likeliest first.
        suggestions: Vec<String>,
    },
    /// `MODULE:ATTRIBUTE()` of an object that is the application already.
    #[error(
        "cannot call `{application}`: {file} defines it as an application, not as a function that makes one"
    )]
    NotAFactory {
        /// The application, without the call.
        application: String,
        /// The module's file.
        file: String,
    },
    /// A factory that a server cannot call without arguments.
    #[error("cannot call `{application}`: {attribute} in {file} {reason}")]
    Uncallable {
        /// The application, as given.
        application: String,
        /// The function.
        attribute: String,
        /// The module's file.
        file: String,
        /// The reason.
        reason: String,
    },
    /// The text is not `MODULE:ATTRIBUTE`.
    #[error("invalid application `{0}`")]
    Syntax(String),
    /// The module is neither in the source tree nor in an installed distribution.
    #[error("application `{application}` not found: {} {} not in the source tree, and no distribution has the module", .searched.join(" or "), if .searched.len() == 1 { "is" } else { "are" })]
    NoModule {
        /// The application, as given.
        application: String,
        /// The files searched for the module.
        searched: Vec<String>,
    },
    /// The module is in an installed distribution that is not in the image.
    #[error("application `{application}` not found: its distribution {distribution} is not in the image")]
    Excluded {
        /// The application, as given.
        application: String,
        /// The name of the distribution.
        distribution: String,
    },
}

impl Advice for ApplicationError {
    fn help(&self) -> Option<String> {
        Some(
            match self {
                Self::Syntax(_) => "write MODULE:ATTRIBUTE, such as app.main:app, or MODULE:FUNCTION() for a function that makes it",
                Self::Unparsed { .. } => {
                    "correct the file, or exclude it in .dockerignore if it is a template, or name the application with --app MODULE:ATTRIBUTE"
                }
                Self::Ignored => {
                    "include the service's files with `!` lines (`ipo-oci context --why FILE` names the line of .dockerignore that excludes one), or name another file with --ignore-file"
                }
                Self::NoModule { .. } => {
                    "correct the name, install the distribution that has the module, or include the file: `ipo-oci context --why FILE` names the line of .dockerignore that excludes it"
                }
                Self::NoObject { proposed, .. } | Self::NoFile { proposed, .. } if !proposed.is_empty() => {
                    return Some(format!(
                        "name it with --app, or as app in [tool.ipo-oci]: {}",
                        quoted(proposed)
                    ));
                }
                Self::NoAttribute { suggestions, .. } if !suggestions.is_empty() => {
                    return Some(format!("use {}", quoted(suggestions)));
                }
                Self::Excluded { distribution, .. } => {
                    return Some(format!("declare {distribution} as a dependency of the project"));
                }
                Self::NotAFactory { application, .. } => return Some(format!("use `{application}`")),
                Self::Uncallable { .. } => {
                    "give each parameter a default, or add a function without parameters that calls it"
                }
                Self::NoAttribute { .. } => "name an object that the module defines, or the module that defines it",
                _ => "name it with --app MODULE:ATTRIBUTE, or with app = \"MODULE:ATTRIBUTE\" in [tool.ipo-oci]",
            }
            .to_owned(),
        )
    }
}

fn quoted(names: &[String]) -> String {
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" or ")
}
