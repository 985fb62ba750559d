//! Inputs of a plan that carrying it out needs again.

use std::sync::Arc;

use crate::base::View;
use crate::digest::Digest;
use crate::image::Image;
use crate::platform::Platform;
use crate::python::relocate::paths::PathScanner;

/// Inputs that a program cannot change.
#[derive(Debug, Clone)]
pub(crate) struct PlanContext {
    pub(crate) base: Option<PlanBase>,
    /// The search for paths of the build machine.
    pub(crate) scanner: PathScanner,
    /// The platform of the planned files.
    pub(crate) platform: Platform,
    /// The names of the layers that the build planned itself. A large distribution has a layer of its
    /// own name, which may be another's too.
    pub(crate) own_names: Vec<String>,
}

/// The resolved base of a plan.
#[derive(Debug, Clone)]
pub(crate) struct PlanBase {
    pub(crate) image: Image,
    pub(crate) view: Arc<View>,
    /// Name and resolved digest, for annotations.
    pub(crate) name: Option<(String, Digest)>,
}
