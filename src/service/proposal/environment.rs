//! Environment variables of a Dockerfile: for the image, for the installer, or secret.

/// Variables that a build sets, or that only the instructions of a Dockerfile read.
const NOT_NEEDED: [&str; 23] = [
    "PATH",
    "HOME",
    "USER",
    "PORT",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "PYTHONUNBUFFERED",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONIOENCODING",
    "PYTHONUTF8",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LANGUAGE",
    "DEBIAN_FRONTEND",
    "UV",
    "PIPENV_VENV_IN_PROJECT",
    "PYSETUP_PATH",
    "VENV_PATH",
    "LD_LIBRARY_PATH",
    "NODE_ENV",
    "NVM_DIR",
    "WHEEL_DIR",
];
/// Prefixes of such variables.
const PREFIXES: [&str; 10] =
    ["PIP_", "POETRY_", "UV_", "PDM_", "PIPENV_", "PYTHON_VERSION", "HATCH_", "CONDA_", "S6_", "NPM_"];

/// Returns true if the process of an image may need the variable.
pub(super) fn is_for_images(name: &str) -> bool {
    !NOT_NEEDED.contains(&name) && !PREFIXES.iter().any(|prefix| name.starts_with(prefix)) && !name.is_empty()
}

/// Returns true if the name, or a user in the value's URL, is that of a secret, which does not belong in an image.
pub(super) fn is_secret(name: &str, value: &str) -> bool {
    let authority = value.split_once("://").and_then(|(_, rest)| rest.split('/').next());
    if authority.is_some_and(|authority| authority.contains('@')) {
        return true;
    }
    let name = name.to_uppercase();
    [
        "SECRET",
        "PASSWORD",
        "PASSWD",
        "TOKEN",
        "API_KEY",
        "APIKEY",
        "PRIVATE_KEY",
        "CREDENTIAL",
        "DATABASE_URL",
    ]
    .iter()
    .any(|word| name.contains(word))
}
