//! The types in the variants of a [`BuildError`](super::BuildError) whose modules are not part of the interface.

#[cfg(feature = "apt")]
#[doc(inline)]
pub use crate::apt::AptError;
#[doc(inline)]
pub use crate::base::{BaseError, BaseReferenceError, CLibrary};
#[doc(inline)]
pub use crate::context::ContextError;
#[doc(inline)]
pub use crate::debian::DebianError;
#[cfg(feature = "apt")]
#[doc(inline)]
pub use crate::debian::install::InstallError;
#[doc(inline)]
pub use crate::elf::ElfError;
#[doc(inline)]
pub use crate::python::application::ApplicationError;
#[doc(inline)]
pub use crate::python::bytecode::{BytecodeError, MarshalError};
#[doc(inline)]
pub use crate::python::environment::error::{ForeignKind, ForeignWheel, Overwritten, VenvError};
#[doc(inline)]
pub use crate::python::interpreter::{InterpreterError, RunError};
#[doc(inline)]
pub use crate::python::metadata::record::RecordError;
#[doc(inline)]
pub use crate::python::provision::ProvisionError;
#[doc(inline)]
pub use crate::python::requirements::closure::{ClosureError, MissingRequirement};
#[doc(inline)]
pub use crate::python::requirements::error::RequirementError;
#[doc(inline)]
pub use crate::python::requirements::pipfile::PipfileError;
#[doc(inline)]
pub use crate::python::requirements::pyproject::PyProjectError;
#[doc(inline)]
pub use crate::python::requirements::requirements_txt::RequirementsError;
#[doc(inline)]
pub use crate::service::ServiceError;
#[doc(inline)]
pub use crate::system::SystemError;
