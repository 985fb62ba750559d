//! The dependencies that a project declares, and the installed distributions that they need.
//!
//! | module | owns |
//! |---|---|
//! | [`requirement`] | a dependency specifier |
//! | [`marker`] | the condition of a requirement |
//! | [`poetry`] | Poetry's version constraints |
//! | [`pyproject`] | the dependencies in `pyproject.toml` |
//! | [`requirements_txt`] | pip's `requirements.txt` |
//! | [`closure`] | the distributions needed by declared dependencies |

pub mod closure;
pub mod marker;
pub mod poetry;
pub mod pyproject;
pub mod requirement;
pub mod requirements_txt;
