//! Imports of the source that nothing in the image provides.

use test_macros::test;

use super::Changed;

/// The directory of the example's distributions.
const SITE: &str = "app/.venv/lib/python3.11/site-packages";

/// The example with a line before the first import of its main module.
fn importing(line: &str) -> Changed {
    Changed::default().edited("app/app/main.py", "\nimport", &format!("\n{line}\nimport"))
}

#[test]
fn a_module_without_distribution() {
    importing("import redis")
        .reports("IPO404", "add the distribution that provides redis to the dependencies");
    importing("import yaml.nodes, bs4").reports("IPO404", "add beautifulsoup4 to the dependencies");
    importing("import redis").file(&format!("{SITE}/redis/__init__.py"), "").stays_silent("IPO404");
    importing("import redis")
        .file(&format!("{SITE}/redis.cpython-311-x86_64-linux-gnu.so"), "")
        .stays_silent("IPO404");
}

#[test]
fn imports_that_may_fail_or_do_not_happen_are_silent() {
    for line in [
        "try:\n    import redis\nexcept ImportError:\n    redis = None",
        "if TYPE_CHECKING:\n    import redis",
        "if sys.platform == 'win32':\n    import redis",
        "def f():\n    import redis",
        "if __name__ == '__main__':\n    import redis",
        "import os, sys, tomllib, distutils, _thread",
        "import app.metrics",
        "from app import metrics",
        "from . import metrics",
    ] {
        importing(line).stays_silent("IPO404");
    }
    // No module that the process loads imports this one.
    Changed::default().file("app/app/tools.py", "import redis\n").stays_silent("IPO404");
}

#[test]
fn a_chain_of_imports_names_the_module_that_fails() {
    importing("from .extra import x")
        .file("app/app/extra.py", "\nfrom redis import x\n")
        .reports("IPO404", "app/app/extra.py: imports redis, which no distribution");
}

#[test]
fn a_namespace_package_has_the_modules_of_its_distributions() {
    let image = |line: &str| {
        importing(line)
            .file(&format!("{SITE}/google/cloud/bigquery/__init__.py"), "")
            .file(&format!("{SITE}/google/api_core/__init__.py"), "")
    };
    image("from google.cloud import storage").reports("IPO404", "imports google.cloud.storage, which no");
    image("import google.auth").reports("IPO404", "imports google.auth, which no");
    image("from google.cloud import bigquery\nimport google.api_core.retry").stays_silent("IPO404");
}

#[test]
fn a_module_left_out_of_the_image() {
    importing("from .models import User").reports("IPO404", "imports .models, which is not in the image");
    importing("import tkinter").reports("IPO404", "trim.remove");
    importing("import formatter").reports("IPO404", "Python 3.10 removed");
}

#[test]
fn paths_of_pth_files_and_variables() {
    importing("import redis")
        .file(&format!("{SITE}/more.pth"), "# more\n../../../vendor\n")
        .file("app/.venv/vendor/redis/__init__.py", "")
        .stays_silent("IPO404");
    importing("import redis")
        .file(&format!("{SITE}/__editable__.redis.pth"), "import __editable___redis_finder\n")
        .stays_silent("IPO404");
    // A program may extend `sys.path`.
    importing("import redis").file("app/vendor/redis.py", "").stays_silent("IPO404");
}

/// The example with a project of Django beside the application, whose settings `import` names.
fn with_django(import: &str, apps: &str) -> Changed {
    importing(import)
        .file("app/config/__init__.py", "")
        .file("app/config/settings.py", format!("from .base import *\nINSTALLED_APPS += [{apps}]\n"))
        .file("app/config/base.py", "INSTALLED_APPS = ['shop.apps.ShopConfig']\n")
        .file("app/shop/__init__.py", "")
        .file("app/shop/models.py", "import redis\n")
}

#[test]
fn django_imports_the_applications_of_its_settings() {
    let variable = ("DJANGO_SETTINGS_MODULE".to_owned(), "config.settings".to_owned());
    let certain = |apps: &str| {
        let mut image = with_django("import os", apps).file("app/shop/models.py", "");
        image.process.env.push(variable.clone());
        image
    };
    certain("'rest_framework', 'shop'").reports(
        "IPO404",
        "app/config/settings.py: names in INSTALLED_APPS rest_framework, which no distribution",
    );
    certain("'app.metrics', 'uvicorn'").stays_silent("IPO404");
    // The models of an application are imported, too.
    let mut image = with_django("import os", "'shop'");
    image.process.env.push(variable);
    image.reports("IPO404", "app/shop/models.py: imports redis, which no distribution");

    // A default may be replaced when the container starts.
    let default = "import os\nos.environ.setdefault('DJANGO_SETTINGS_MODULE', 'config.settings')";
    let found = with_django(default, "'rest_framework'").diagnostics("IPO4");
    let [only] = &found[..] else { panic!("{found:#?}") };
    assert_eq!(only.severity, ipo_oci::check::Severity::Warning);
    with_django("import os", "'rest_framework'").stays_silent("IPO404");
}
