//! IPO503 and IPO504: files of environments that name directories which the image does not have.
//!
//! `.pth` files follow Python's `site` module, editable installs PEP 660 and the tables of
//! setuptools, `direct_url.json` PEP 610, and `pyvenv.cfg` PEP 405.

use crate::check::diagnostic::{Diagnostic, Reporter, Severity};
use crate::check::image::CheckedImage;
use crate::check::modules::pth_path;
use crate::check::node::CheckedNode;
use crate::check::pythons::{self, CheckedPython};
use crate::python::metadata::direct_url::DirectUrl;
use crate::tree::ImagePath;

/// Modules of editable installs begin with these.
const FINDERS: [&str; 4] = ["__editable__", "_editable_impl_", "_editable_skbc_", "__editables_"];
/// Directories of people, whose names are no matter of the image.
const HOMES: [&str; 3] = ["/home/", "/Users/", "/root/"];

pub(super) fn check(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    for python in &image.pythons {
        if reporter.wants(&["IPO503"]) {
            python.sites.iter().for_each(|site| check_site(image, site, reporter));
        }
        if reporter.wants(&["IPO504"]) {
            check_home(image, python, reporter);
        }
    }
    if reporter.wants(&["IPO504"]) {
        check_origins(image, reporter);
    }
}

fn check_site(image: &CheckedImage, site: &ImagePath, reporter: &mut Reporter<'_>) {
    let files = image.children(site).filter(|(_, node)| node.is_file() && node.is_own());
    for (path, _) in files {
        let name = path.file_name().unwrap_or_default();
        let is_finder = name.ends_with(".py") && FINDERS.iter().any(|start| name.starts_with(start));
        let is_link = name.ends_with(".pth") || name.ends_with(".egg-link");
        if !is_finder && !is_link {
            continue;
        }
        let Some(text) = image.text(path) else { continue };
        let missing = if is_finder {
            literals(&text).find(|literal| is_missing(image, literal)).map(str::to_owned)
        } else {
            let lines = text
                .lines()
                .filter(|line| pth_path(site, line).is_some_and(|path| image.find(&path).is_none()));
            lines.map(|line| line.trim().to_owned()).next()
        };
        let Some(missing) = missing else { continue };
        // Python ignores such a line, and imports of the distribution fail.
        let severity =
            if is_finder || is_editable(image, path) { Severity::Error } else { Severity::Warning };
        reporter.report(
            Diagnostic::new("IPO503", format!("leads to {missing}, which is not in the image"))
                .at(path)
                .of(image.owner(path).as_ref())
                .with_severity(severity)
                .with_help("install the project itself instead of a link (`uv sync --no-editable`, `pip install .`), or add its directory"),
        );
    }
}

/// Returns the texts after a quote that are absolute paths.
fn literals(text: &str) -> impl Iterator<Item = &str> {
    text.split(['\'', '"'])
        .skip(1)
        .filter(|literal| literal.starts_with('/') && literal.len() > 1 && !literal.contains('\n'))
}

/// Returns true if there is neither a file or directory, nor a module, at `path`.
fn is_missing(image: &CheckedImage, path: &str) -> bool {
    ["", ".py"].iter().all(|suffix| {
        let path = ImagePath::new(&format!("{path}{suffix}")).ok();
        path.is_none_or(|path| image.find(&path).is_none())
    })
}

fn is_editable(image: &CheckedImage, path: &ImagePath) -> bool {
    let name = path.file_name().unwrap_or_default();
    if name.ends_with(".egg-link") || name.starts_with("__editable__") {
        return true;
    }
    let info = image.recorded_by(path).map(|distribution| &distribution.info);
    let origin = info.and_then(|info| image.text(&info.join("direct_url.json").ok()?));
    origin.and_then(|text| DirectUrl::parse(&text)).is_some_and(|url| matches!(url, DirectUrl::Editable(_)))
}

/// Reports an environment whose `home` is not in the image: Python may not find its library.
fn check_home(image: &CheckedImage, python: &CheckedPython, reporter: &mut Reporter<'_>) {
    let Some(environment) = &python.environment else { return };
    let Ok(path) = environment.join("pyvenv.cfg") else { return };
    if !image.lookup(&path).is_some_and(CheckedNode::is_own) {
        return;
    }
    let home = pythons::config(image, environment).and_then(|config| config.home);
    let home = home.map(|home| home.to_string_lossy().into_owned());
    let Some(home) = home.filter(|home| is_missing(image, home)) else { return };
    reporter.report(
        Diagnostic::new("IPO504", format!("has `home = {home}`, which is not in the image"))
            .at(&path)
            .with_help("make the environment with the interpreter of the image, at the same path"),
    );
}

/// Reports distributions whose origin is in the home directory of a person.
fn check_origins(image: &CheckedImage, reporter: &mut Reporter<'_>) {
    let mut found = Vec::new();
    for distribution in &image.distributions {
        let Some(path) = distribution.info.join("direct_url.json").ok() else { continue };
        let Some(text) = image.lookup(&path).filter(|node| node.is_own()).and_then(|_| image.text(&path))
        else {
            continue;
        };
        let Some(DirectUrl::Local(origin) | DirectUrl::Editable(origin)) = DirectUrl::parse(&text) else {
            continue;
        };
        let origin = origin.to_string_lossy().into_owned();
        if HOMES.iter().any(|home| origin.starts_with(home)) && is_missing(image, &origin) {
            found.push((path, origin));
        }
    }
    let Some((first, origin)) = found.first().cloned() else { return };
    let owner = image.owner(&first);
    reporter.report(
        Diagnostic::new(
            "IPO504",
            format!("names {origin}, a path of the machine that installed the distribution"),
        )
        .of(owner.as_ref())
        .at_all(found.into_iter().map(|(path, _)| path))
        .with_help("remove the file, which only `pip freeze` reads"),
    );
}

#[cfg(test)]
mod tests {
    use crate::check::testing::{SITE, TestImage};

    #[test]
    fn lines_that_lead_nowhere_are_reported() {
        let image = TestImage::environment()
            .file(&format!("{SITE}/good.pth"), "# x\nimport os; os.getcwd()\n/app/src\n../site-packages\n")
            .file("app/src/pkg/__init__.py", "")
            .file(
                &format!("{SITE}/__editable___good_finder.py"),
                "MAPPING = {'pkg': '/app/src/pkg'}\nX = '/'\n",
            );
        assert_eq!(image.found("IPO503"), Vec::<String>::new());
        let image = image
            .file(&format!("{SITE}/lost.pth"), "/build/src\n")
            .file(&format!("{SITE}/__editable___lost_finder.py"), "MAPPING = {'pkg': '/build/src/pkg'}\n");
        let found = image.diagnostics("IPO503");
        let shown: Vec<_> =
            found.iter().map(|found| format!("{:?} {}", found.severity, found.message)).collect();
        assert_eq!(
            shown,
            [
                "Error leads to /build/src/pkg, which is not in the image",
                "Warning leads to /build/src, which is not in the image",
            ]
        );
    }

    #[test]
    fn the_home_of_an_environment_has_to_exist() {
        assert_eq!(TestImage::environment().found("IPO504"), Vec::<String>::new());
        let image = TestImage::python()
            .file("app/.venv/pyvenv.cfg", "home = /opt/python/bin\nversion = 3.11.7\n")
            .link("app/.venv/bin/python", "/usr/local/bin/python3.11")
            .file(&format!("{SITE}/x.py"), "");
        assert_eq!(
            image.found("IPO504"),
            ["IPO504 /app/.venv/pyvenv.cfg: has `home = /opt/python/bin`, which is not in the image"]
        );
    }

    #[test]
    fn origins_in_a_home_are_reported_once() {
        let from = |image: TestImage, name: &str, url: &str| {
            let text = format!("{{\"url\": \"{url}\", \"dir_info\": {{}}}}");
            image
                .distribution(name, "1", "")
                .file(&format!("{SITE}/{name}-1.dist-info/direct_url.json"), &text)
        };
        let image = from(TestImage::environment(), "a", "file:///wheels/a.whl");
        let image = from(image, "b", "https://x.example/home/b.whl");
        assert_eq!(image.found("IPO504"), Vec::<String>::new());
        let image = from(from(image, "c", "file:///home/ann/c"), "d", "file:///home/ann/d");
        let found = image.diagnostics("IPO504");
        assert_eq!((found.len(), found[0].others.len()), (1, 1));
    }
}
