//! The dependencies that a project declares, and the installed distributions that they need.
//!
//! | module | owns |
//! |---|---|
//! | [`declaration`] | the file that declares the dependencies |
//! | [`requirement`] | a dependency specifier |
//! | [`error`] | the error of a specifier |
//! | [`marker`] | the condition of a requirement |
//! | [`pipfile`] | Pipenv's `Pipfile` |
//! | [`poetry`] | Poetry's version constraints |
//! | [`pyproject`] | the dependencies in `pyproject.toml` |
//! | [`requirements_txt`] | pip's `requirements.txt` |
//! | [`closure`] | the distributions needed by declared dependencies |

pub mod closure;
pub mod declaration;
pub mod error;
pub mod marker;
pub mod pipfile;
pub mod poetry;
pub mod pyproject;
pub mod requirement;
pub mod requirements_txt;
