//! Rules of a resolution, over small archives.

use super::*;
use crate::index;

/// Makes a universe of lines `NAME VERSION [FIELD: VALUE; …]`.
fn universe(lines: &str) -> Universe {
    let digest = "0".repeat(64);
    let mut text = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (name, rest) = line.split_once(' ').unwrap();
        let (version, fields) = rest.split_once(' ').unwrap_or((rest, ""));
        text.push(format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nFilename: {name}.deb\nSize: 1"
        ));
        text.push(format!("SHA256: {digest}\n{}\n", fields.replace(';', "\n").replace("\n ", "\n")));
    }
    Universe::new(index::parse(text.join("\n").as_bytes(), 0).unwrap())
}

fn installed(lines: &str) -> Vec<Installed> {
    let records = universe(lines);
    let convert = |record: &PackageRecord| Installed {
        name: record.name.clone(),
        version: record.version.clone(),
        architecture: record.architecture.clone(),
        multi_arch: record.multi_arch,
        relations: record.relations.clone(),
    };
    records.records().iter().map(convert).collect()
}

fn run(universe: &Universe, below: &str, wanted: &str, recommends: Recommends) -> Result<String, String> {
    let wanted: Vec<_> = wanted.split_whitespace().map(str::to_owned).collect();
    let installed = installed(below);
    let request = Request {
        wanted: &wanted,
        installed: &installed,
        recommends,
        architecture: "amd64",
        script_dependencies: ScriptDependencies::Omit,
    };
    let records = resolve(universe, &request).map_err(|error| error.to_string())?;
    let names: Vec<_> = records.iter().map(|record| format!("{}={}", record.name, record.version)).collect();
    Ok(names.join(" "))
}

fn resolved(lines: &str, wanted: &str) -> String {
    run(&universe(lines), "", wanted, Recommends::Omit).unwrap_or_else(|error| error)
}

#[test]
fn takes_the_highest_version_unless_another_is_named() {
    let lines = "a 1\na 2\na 2~1";
    assert_eq!(resolved(lines, "a"), "a=2");
    assert_eq!(resolved(lines, "a=1"), "a=1");
    assert_eq!(resolved(lines, "a=3"), "package not found: `a` in version 3; available: 2, 2~1, 1");
}

#[test]
fn follows_dependencies() {
    let lines = "a 1 Depends: b (>= 2), c | d; Pre-Depends: e\nb 1\nb 2\nc 1\nd 1\ne 1 Recommends: f\nf 1";
    assert_eq!(resolved(lines, "a"), "a=1 b=2 c=1 e=1");
    let with = run(&universe(lines), "", "a", Recommends::Include).unwrap();
    assert_eq!(with, "a=1 b=2 c=1 e=1 f=1");
    assert_eq!(resolved("a 1 Depends: b\nb 1 Depends: a", "a"), "a=1 b=1");
}

#[test]
fn takes_an_alternative_that_is_there_already() {
    let lines = "a 1 Depends: b | c\nb 1\nc 1";
    assert_eq!(resolved(lines, "a c"), "a=1 c=1");
    assert_eq!(run(&universe(lines), "c 1", "a", Recommends::Omit).unwrap(), "a=1");
    assert_eq!(resolved("a 1 Depends: b | c\nb 1 Depends: missing\nc 1", "a"), "a=1 c=1");
}

#[test]
fn takes_providers_of_virtual_packages() {
    let lines = "a 1 Depends: mta\nexim 1 Provides: mta; Priority: standard\nfix 1 Provides: mta";
    assert_eq!(resolved(lines, "a"), "a=1 exim=1");
    assert_eq!(resolved(lines, "a fix"), "a=1 fix=1");
    assert_eq!(
        resolved(lines, "mta"),
        "package not found: `mta` is a virtual package; it is provided by exim, fix"
    );
    assert_eq!(resolved("x 1 Provides: y", "y"), "x=1");
    let versioned = "a 1 Depends: v (>= 2)\nb 1 Provides: v\nc 1 Provides: v (= 1)\nd 1 Provides: v (= 3)";
    assert_eq!(resolved(versioned, "a"), "a=1 d=1");
}

#[test]
fn any_is_met_by_packages_that_allow_it() {
    let lines =
        "a 1 Depends: p:any\nb 1 Depends: q:any\np 1 Multi-Arch: allowed\nq 1\nc 1 Depends: q:i386 | q:amd64";
    assert_eq!(resolved(lines, "a"), "a=1 p=1");
    assert_eq!(resolved(lines, "c"), "c=1 q=1");
    assert!(resolved(lines, "b").starts_with("cannot install"));
}

#[test]
fn searches_for_a_set_without_conflicts() {
    let lines = "a 1 Depends: x | y\nb 1 Depends: z\nz 1 Conflicts: x\nx 1\ny 1";
    assert_eq!(resolved(lines, "a b"), "a=1 b=1 y=1 z=1");
    let mutual = "a 1 Provides: m; Conflicts: m\nb 1 Provides: m; Conflicts: m";
    assert_eq!(resolved(mutual, "a"), "a=1");
    assert_eq!(
        resolved(mutual, "a b"),
        "cannot install the packages together:\n  a 1 conflicts with m, and b 1 is wanted\n  b 1 conflicts with m, \
         and a 1 is wanted"
    );
}

#[test]
fn explains_the_chain_to_a_dependency_that_cannot_be_met() {
    let lines = "a 1 Depends: b\nb 1 Depends: c (>= 2)\nc 1\nd 1 Depends: nothing";
    assert_eq!(
        resolved(lines, "a"),
        "cannot install the packages together: b 1 depends on c (>= 2), but c 1 is available (b 1 is needed by a 1)"
    );
    assert_eq!(
        resolved(lines, "d"),
        "cannot install the packages together: d 1 depends on nothing, but no package `nothing` is available"
    );
    // A dependency that nothing speaks against is no reason.
    assert_eq!(
        resolved("a 1 Depends: b\nb 1 Depends: nothing, c\nc 1", "a"),
        "cannot install the packages together: b 1 depends on nothing, but no package `nothing` is available (b 1 is needed by a 1)"
    );
}

#[test]
fn leaves_installed_packages_as_they_are() {
    let lines = "a 1 Depends: b (>= 2)\nb 2\nc 1 Depends: b";
    assert_eq!(run(&universe(lines), "b 1", "c", Recommends::Omit).unwrap(), "c=1");
    assert_eq!(
        run(&universe(lines), "b 1", "a", Recommends::Omit).unwrap_err(),
        "cannot install the packages together: a 1 depends on b (>= 2), but b 1 is installed and stays as it is"
    );
    assert_eq!(
        run(&universe(lines), "b 1", "b=2", Recommends::Omit).unwrap_err(),
        "cannot install `b` in version 2: version 1 is installed"
    );
    assert_eq!(run(&universe(lines), "b 1", "b", Recommends::Omit).unwrap(), "");
    assert_eq!(
        run(&universe(lines), "z 1 Breaks: c (<< 2)", "c", Recommends::Omit).unwrap_err(),
        "cannot install the packages together: z 1 breaks c (<< 2), and c 1 is wanted"
    );
}

#[test]
fn omits_dependencies_of_scripts_unless_dpkg_is_there() {
    let lines =
        "a 1 Depends: debconf (>= 0.5) | debconf-2.0, b | dpkg\nb 1\ndebconf 1\nc 1 Depends: dpkg\ndpkg 1";
    assert_eq!(resolved(lines, "a"), "a=1 b=1");
    assert_eq!(resolved(lines, "c"), "c=1");
    assert_eq!(resolved(lines, "a dpkg"), "a=1 debconf=1 dpkg=1");
    assert_eq!(run(&universe(lines), "dpkg 1", "a", Recommends::Omit).unwrap(), "a=1 debconf=1");
    // The first dpkg brings those of the packages below.
    let below = "base-files 1 Pre-Depends: awk";
    let lines = "dpkg 1\nmawk 1 Provides: awk\ngawk 1 Provides: awk\nb 1";
    assert_eq!(run(&universe(lines), below, "b", Recommends::Omit).unwrap(), "b=1");
    assert_eq!(run(&universe(lines), below, "dpkg gawk", Recommends::Omit).unwrap(), "dpkg=1 gawk=1");
    assert_eq!(run(&universe(lines), below, "dpkg", Recommends::Omit).unwrap(), "dpkg=1 gawk=1");
}

#[test]
fn essential_names_a_set() {
    assert_eq!(
        resolved("a 1 Essential: yes\nb 1\nc 1 Essential: yes; Depends: b", "?essential"),
        "a=1 b=1 c=1"
    );
}

#[test]
fn suggests_the_nearest_names() {
    let lines = "ffmpeg 1\nlibmagic1 1\nlibpq5 1\nlibpq-dev 1";
    assert_eq!(resolved(lines, "ffmepg"), "package not found: `ffmepg`; did you mean `ffmpeg`?");
    assert_eq!(resolved(lines, "libmagic"), "package not found: `libmagic`; did you mean `libmagic1`?");
    assert_eq!(resolved(lines, "libpq"), "package not found: `libpq`; did you mean `libpq-dev`, `libpq5`?");
    assert_eq!(resolved(lines, "chromium"), "package not found: `chromium`");
    assert_eq!(resolved(lines, "xyz=1"), "package not found: `xyz`");
    assert_eq!(resolved(lines, "a/b"), "invalid package `a/b`: expected NAME or NAME=VERSION");
}

#[test]
fn a_long_chain_neither_overflows_nor_hangs() {
    let lines: Vec<_> = (0..20_000).map(|index| format!("p{index} 1 Depends: p{}", index + 1)).collect();
    let index = lines.join("\n") + "\np20000 1";
    let small = std::thread::Builder::new().stack_size(256 * 1024);
    let outcome = small.spawn(move || resolved(&index, "p0")).unwrap().join().unwrap();
    assert_eq!(outcome, "cannot resolve the packages: a chain of more than 1000 dependencies");
}

#[test]
fn packages_that_unmark_each_other_end() {
    // The second dependency of each package unmarks the first, and the third needs that again.
    let lines: Vec<_> = (1..60)
        .map(|index| {
            let below = index - 1;
            format!(
                "p{index} 1 Depends: p{below}, c{index}, p{below} | x{index}\nc{index} 1 Conflicts: p{below}"
            )
        })
        .collect();
    let message = resolved(&(lines.join("\n") + "\np0 1"), "p59");
    assert!(message.starts_with("cannot "), "{message}");
}

/// A package of a random archive: its dependencies, conflicts and virtual package. Names are `p0` to `p6`, `v7` and `v8`.
type Random = (Vec<Vec<usize>>, Vec<usize>, Option<usize>);

fn random_archive() -> impl proptest::strategy::Strategy<Value = Vec<Random>> {
    use proptest::collection::vec;
    let name = || 0..9_usize;
    let package = (vec(vec(name(), 1..3), 0..3), vec(name(), 0..2), proptest::option::of(7..9_usize));
    vec(package, 7)
}

/// Returns the packages that are a name or provide it.
fn meanings(archive: &[Random], name: usize) -> Vec<usize> {
    (0..archive.len()).filter(|index| *index == name || archive[*index].2 == Some(name)).collect()
}

/// Tells whether a set of packages, the bits of `set`, satisfies all dependencies and has no conflict.
fn is_valid(archive: &[Random], set: u32) -> bool {
    let has = |index: &usize| set & (1 << index) != 0;
    archive.iter().enumerate().filter(|(index, _)| has(index)).all(|(index, (dependencies, conflicts, _))| {
        let met = |alternatives: &Vec<usize>| {
            alternatives.iter().any(|name| meanings(archive, *name).iter().any(has))
        };
        let excluded =
            |name: &usize| meanings(archive, *name).iter().any(|other| *other != index && has(other));
        dependencies.iter().all(met) && !conflicts.iter().any(excluded)
    })
}

proptest::proptest! {
    #[test]
    fn finds_a_set_if_there_is_one(archive in random_archive()) {
        let name = |index: &usize| if *index < 7 { format!("p{index}") } else { format!("v{index}") };
        let names = |list: &[usize], by: &str| list.iter().map(name).collect::<Vec<_>>().join(by);
        let lines: Vec<_> = archive.iter().enumerate().map(|(index, (dependencies, conflicts, provides))| {
            let depends = dependencies.iter().map(|list| names(list, " | ")).collect::<Vec<_>>().join(", ");
            let provides = provides.iter().map(name).collect::<String>();
            format!("p{index} 1 Depends: {depends}; Conflicts: {}; Provides: {provides}", names(conflicts, ", "))
        }).collect();
        let possible = (0..1 << 7).any(|set| set & 3 == 3 && is_valid(&archive, set));
        match run(&universe(&lines.join("\n")), "", "p0 p1", Recommends::Omit) {
            Ok(resolved) => {
                let set = (0..7).filter(|index| resolved.contains(&format!("p{index}="))).map(|index| 1 << index).sum();
                proptest::prop_assert!(is_valid(&archive, set), "{resolved}");
            }
            Err(error) => proptest::prop_assert!(!possible, "{error}"),
        }
    }
}
