//! An interpreter that a script starts, such as that of an image's base in a folder of this machine.

use std::path::Path;

use super::{Architecture, Flavor, Interpreter, InterpreterError, version};

impl Interpreter {
    /// Describes the interpreter that the script `program` starts, with the prefix and standard library `prefix` and
    /// `stdlib`. Unlike [`Interpreter::discover`], runs the program.
    ///
    /// # Errors
    /// If the program does not start.
    pub(crate) fn unpacked(
        program: &Path,
        (prefix, stdlib): (&Path, &Path),
        architecture: Architecture,
    ) -> Result<Self, InterpreterError> {
        let unknown = |source| InterpreterError::UnknownVersion { executable: program.to_owned(), source };
        let reported = version::query(program).map_err(unknown)?;
        let version = reported.version().ok_or_else(|| unknown(super::RunError::Output))?;
        Ok(Self {
            executable: program.to_owned(),
            version,
            full_version: reported.full_version,
            prefix: prefix.to_owned(),
            stdlib: stdlib.to_owned(),
            lib_dynload: None,
            libpython: None,
            include: None,
            cache_tag: reported.cache_tag,
            soabi: None,
            flavor: Flavor::Prefix,
            architecture,
            configured_prefix: None,
            warnings: Vec::new(),
        })
    }
}
