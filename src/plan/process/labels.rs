//! The labels of an image.

use std::collections::BTreeMap;

use crate::project::Project;
use crate::recipe::Recipe;

/// Returns the labels `org.opencontainers.image.*` (OCI image specification 1.1, `annotations.md`),
/// overridden by the user's.
pub(super) fn labels(recipe: &Recipe, project: &Project, created: Option<&str>) -> BTreeMap<String, String> {
    let known = [
        ("title", Some(project.title(recipe.name.as_deref()))),
        ("version", project.version.as_deref()),
        ("description", project.description.as_deref()),
        ("licenses", project.license.as_deref()),
        ("authors", project.authors.as_deref()),
        ("url", project.url(&["homepage"])),
        ("source", project.url(&["source", "repository", "sourcecode", "github"])),
        ("documentation", project.url(&["documentation", "docs"])),
        ("revision", project.revision.as_deref()),
        ("created", created),
    ];
    let mut labels: BTreeMap<String, String> = known
        .into_iter()
        .filter_map(|(key, value)| {
            Some((
                format!("org.opencontainers.image.{key}"),
                value.filter(|text| !text.is_empty())?.to_owned(),
            ))
        })
        .collect();
    labels.extend(recipe.labels.clone());
    labels
}
