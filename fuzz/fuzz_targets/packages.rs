//! A package index and wanted packages: no panic, and the resolved packages satisfy their dependencies.

#![no_main]

use debian_archive::index::{self, PackageRecord};
use debian_archive::relation::{self, Qualifier, Relation};
use debian_archive::resolve::{Recommends, Request, ScriptDependencies, Universe, resolve};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&[u8], &[u8], &str)| {
    let (text, status, wanted) = input;
    for field in wanted.split(';') {
        if let Ok(relations) = relation::parse(field) {
            let written: Vec<_> =
                relations.iter().map(|alternatives| relation::display(alternatives)).collect();
            assert_eq!(relation::parse(&written.join(", ")).expect("a written relation"), relations);
        }
    }
    let installed = index::parse_status(status).unwrap_or_default();
    let Ok(records) = index::parse(text, 0) else { return };
    let universe = Universe::new(records);
    let mut wanted: Vec<_> = wanted.split_whitespace().map(str::to_owned).collect();
    wanted.extend(universe.records().first().map(|record| record.name.to_string()));
    for (recommends, installed) in [(Recommends::Omit, &[][..]), (Recommends::Include, &installed)] {
        let request = Request {
            wanted: &wanted,
            installed,
            recommends,
            architecture: "amd64",
            script_dependencies: ScriptDependencies::Include,
        };
        let Ok(resolved) = resolve(&universe, &request) else { continue };
        for record in installed.is_empty().then_some(&resolved).into_iter().flatten() {
            for alternatives in
                relation::parse(&record.relations.depends).expect("relations of a resolved package")
            {
                let met = |relation: &Relation| resolved.iter().any(|other| satisfies(other, relation));
                let applies = alternatives.iter().any(|relation| relation.applies_to("amd64"));
                assert!(!applies || alternatives.iter().any(met), "{}: {alternatives:?}", record.name);
            }
        }
    }
});

/// Tells whether a package satisfies a relation, itself or by what it provides. Qualifiers are left out.
fn satisfies(record: &PackageRecord, relation: &Relation) -> bool {
    let accepts = |version: &str| relation.constraint.is_none_or(|constraint| constraint.accepts(version));
    if matches!(relation.qualifier, Qualifier::Architecture(name) if name != "amd64") {
        return false;
    }
    *record.name == *relation.name && accepts(record.version.as_str())
        || relation::parse(&record.relations.provides).unwrap_or_default().iter().flatten().any(|provided| {
            let version = provided.constraint.map(|constraint| constraint.version);
            provided.name == relation.name && version.map_or(relation.constraint.is_none(), accepts)
        })
}
