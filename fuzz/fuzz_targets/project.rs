//! A project's metadata: pyproject.toml, requirements and their markers. No panic.

#![no_main]

use ipo_oci::python::requirements::marker::Environment;
use ipo_oci::python::requirements::pyproject::PyProject;
use ipo_oci::python::requirements::requirement::Requirement;
use ipo_oci::python::environment::version::PythonVersion;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = PyProject::parse(text);
    let version = PythonVersion { major: 3, minor: 11, micro: None, free_threaded: false };
    let environment = Environment::new(version, "x86_64");
    for line in text.lines() {
        if let Some(requirement) = Requirement::parse_lenient(line) {
            let _ = requirement.allows("1.0");
            if let Some(marker) = &requirement.marker {
                let _ = marker.holds(&environment, &[]);
            }
        }
    }
});
