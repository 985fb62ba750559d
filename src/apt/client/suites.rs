//! The sources of a suite: its own, those of its updates and of its security updates.
//!
//! A machine of bookworm has them for `bookworm`. Any other suite is looked up on the same mirrors, under its own names:
//! `trixie` and `trixie-updates` where the machine has `bookworm`, `trixie-security` where the machine has
//! `bookworm-security`. Sources of third parties are of no distribution and left out: they lack the component `main`, or
//! their release has another origin.

use std::path::PathBuf;

use debian_archive::sources::{SignedBy, Source};

use super::fetch::MirrorUrl;
use super::machine::MachineSource;
use crate::apt::AptError;

/// The component that every distribution has.
const MAIN: &str = "main";

/// One suite to fetch.
#[derive(Debug, Clone)]
pub(super) struct SuiteRequest {
    /// Mirrors in order; the first that has the suite serves the indexes, all of them packages.
    pub(super) mirrors: Vec<MirrorUrl>,
    pub(super) suite: String,
    /// Components; empty: those of the distribution.
    pub(super) components: Vec<String>,
    pub(super) signed_by: Vec<SignedBy>,
    pub(super) need: Need,
    pub(super) trusted: Option<bool>,
    pub(super) check_valid_until: Option<bool>,
    pub(super) check_date: Option<bool>,
    pub(super) by_hash: Option<bool>,
    /// The file that names the source, if the source is the machine's.
    pub(super) file: Option<PathBuf>,
}

/// The meaning of a suite that the mirrors lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// An error.
    Required,
    /// The suite is left out, if another mirror has the release itself.
    Optional,
}

/// The suites of a distribution's release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pocket {
    Release,
    Updates,
    Security,
}

impl Pocket {
    /// Returns the pocket that `name` is of the suite `suite`.
    fn of(name: &str, suite: &str) -> Option<Self> {
        match name.strip_prefix(suite)? {
            "" => Some(Self::Release),
            "-updates" => Some(Self::Updates),
            "-security" | "/updates" => Some(Self::Security),
            _ => None,
        }
    }

    /// Returns the name of the pocket in the suite `suite`.
    fn name(self, suite: &str) -> String {
        match self {
            Self::Release => suite.to_owned(),
            Self::Updates => format!("{suite}-updates"),
            Self::Security => format!("{suite}-security"),
        }
    }
}

/// Returns the suites that explicit sources name, each of them required.
pub(super) fn of_sources(sources: &[Source], architecture: &str) -> Result<Vec<SuiteRequest>, AptError> {
    let mut requests = Vec::new();
    for source in sources.iter().filter(|source| source.has_binaries && source.serves(architecture)) {
        for suite in &source.suites {
            requests.push(of_source(source, suite, Need::Required, None)?);
        }
    }
    Ok(requests)
}

/// Returns the suites of explicit mirrors, all optional: security updates may be on a sister mirror, `…/debian-security`.
pub(super) fn of_mirrors(
    mirrors: &[String],
    components: &[String],
    suite: &str,
) -> Result<Vec<SuiteRequest>, AptError> {
    let parsed = |addresses: &mut dyn Iterator<Item = String>| {
        addresses.map(|address| MirrorUrl::parse(&address)).collect::<Result<Vec<_>, _>>()
    };
    let own = parsed(&mut mirrors.iter().cloned())?;
    let sisters = mirrors.iter().filter_map(|mirror| {
        let mirror = mirror.trim_end_matches('/');
        // `…/debian/20250520T000000Z` of a snapshot mirror, or `…/debian`.
        let at = mirror.rfind("/debian").filter(|at| {
            let rest = mirror.get(at + "/debian".len()..).unwrap_or_default();
            rest.is_empty() || rest.starts_with('/')
        })?;
        let (before, after) = mirror.split_at(at + "/debian".len());
        Some(format!("{before}-security{after}"))
    });
    let with_sisters = parsed(&mut sisters.chain(mirrors.iter().cloned()))?;
    let pockets = [Pocket::Release, Pocket::Updates, Pocket::Security];
    Ok(pockets
        .into_iter()
        .map(|pocket| SuiteRequest {
            mirrors: if pocket == Pocket::Security { with_sisters.clone() } else { own.clone() },
            suite: pocket.name(suite),
            components: components.to_vec(),
            signed_by: Vec::new(),
            need: Need::Optional,
            trusted: None,
            check_valid_until: None,
            check_date: None,
            by_hash: None,
            file: None,
        })
        .collect())
}

/// Returns the suites of the machine's sources.
pub(super) fn of_machine(
    sources: &[MachineSource],
    codename: Option<&str>,
    suite: &str,
    architecture: &str,
) -> Result<Vec<SuiteRequest>, AptError> {
    let mut usable: Vec<&MachineSource> = sources
        .iter()
        .filter(|MachineSource { source, .. }| {
            source.has_binaries && source.components.iter().any(|component| component == MAIN)
        })
        .collect();
    let mut requests = Vec::new();
    for MachineSource { source, file } in usable.iter().filter(|usable| usable.source.serves(architecture)) {
        for name in source.suites.iter().filter(|name| Pocket::of(name, suite).is_some()) {
            add(&mut requests, of_source(source, name, Need::Required, Some(file.clone()))?);
        }
    }
    let has_release = requests.iter().any(|request| request.suite == suite);
    if !has_release {
        // A mirror of other architectures may have this one too.
        if usable.iter().any(|usable| usable.source.serves(architecture)) {
            usable.retain(|usable| usable.source.serves(architecture));
        }
        requests = derived(&usable, codename, suite)?;
    }
    if requests.is_empty() { Err(AptError::NoSources(suite.to_owned())) } else { Ok(requests) }
}

/// Returns the suites of another release on the mirrors of the machine's own.
fn derived(
    usable: &[&MachineSource],
    codename: Option<&str>,
    suite: &str,
) -> Result<Vec<SuiteRequest>, AptError> {
    // Without os-release, the first suite is the machine's.
    let first =
        || usable.iter().flat_map(|usable| &usable.source.suites).find(|name| !name.contains(['-', '/']));
    let named = |codename: &&str| {
        usable.iter().any(|usable| usable.source.suites.iter().any(|name| name == codename))
    };
    let Some(own) = codename.filter(named).or_else(|| first().map(String::as_str)) else {
        return Ok(Vec::new());
    };
    let mut requests = Vec::new();
    for MachineSource { source, file } in usable {
        let pockets = source.suites.iter().filter_map(|name| Pocket::of(name, own));
        for pocket in pockets {
            let request = of_source(source, &pocket.name(suite), Need::Optional, Some(file.clone()))?;
            add(&mut requests, request);
        }
    }
    Ok(requests)
}

/// Adds a suite; one of several sources is one with more components.
fn add(requests: &mut Vec<SuiteRequest>, request: SuiteRequest) {
    let same = |other: &&mut SuiteRequest| {
        other.suite == request.suite
            && other.mirrors == request.mirrors
            && other.signed_by == request.signed_by
    };
    match requests.iter_mut().find(same) {
        Some(known) => {
            for component in request.components {
                if !known.components.contains(&component) {
                    known.components.push(component);
                }
            }
        }
        None => requests.push(request),
    }
}

fn of_source(
    source: &Source,
    suite: &str,
    need: Need,
    file: Option<PathBuf>,
) -> Result<SuiteRequest, AptError> {
    Ok(SuiteRequest {
        mirrors: source.uris.iter().map(|uri| MirrorUrl::parse(uri)).collect::<Result<_, _>>()?,
        suite: suite.to_owned(),
        components: source.components.clone(),
        signed_by: source.signed_by.clone(),
        need,
        trusted: source.trusted,
        check_valid_until: source.check_valid_until,
        check_date: source.check_date,
        by_hash: source.by_hash,
        file,
    })
}
