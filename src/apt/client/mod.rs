//! A client of Debian archives: finds the sources of a suite, fetches and verifies its releases and indexes, and downloads
//! packages.
//!
//! Trust begins at a keyring: a release has a signature by one of its keys, an index the digest that the release states,
//! a package the digest that the index states. Only verified files enter the cache.

mod fetch;
mod machine;
mod store;
mod suites;

use std::fmt;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use debian_archive::compression::{ArchiveCompression, DECOMPRESSOR_BYTES};
use debian_archive::configuration::AptConfiguration;
use debian_archive::index::{self, PackageRecord};
use debian_archive::release::{IndexFile, Release, ReleaseError, SignedText};
use debian_archive::resolve::Universe;
use debian_archive::sources::Source;
use jiff::Timestamp;

use crate::apt::{AptError, suite_of_root};
use crate::digest::{Digest, Hasher};
use crate::error::{FileError, chain};
use crate::parallel;
use crate::progress::{Progress, TransferState};
use crate::store::Network;
use crate::store::registry::RegistrySettings;
use fetch::{Fetcher, MirrorUrl, ReleaseResponse, TransferReporter};
use store::{FetchedRelease, PackageStore};
use suites::{Need, SuiteRequest};

/// The limit for a release, in bytes: Debian's have 150 KB, Ubuntu's 280 KB.
const RELEASE_BYTES: u64 = 16 << 20;
/// The limit for an index, in bytes: Debian's largest has 50 MB without compression.
const INDEX_BYTES: u64 = 1 << 30;
/// The tolerance for clocks that differ, in seconds.
const CLOCK_SECONDS: i64 = 3600;
/// Parallel downloads.
const DOWNLOADS: usize = 4;
/// The origins of distributions, in the releases of the machine's sources.
const DISTRIBUTIONS: [&str; 3] = ["Debian", "Ubuntu", "Raspbian"];

/// Suites, for suggestions.
const SUITES: [&str; 14] = [
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "sid",
    "oldstable",
    "stable",
    "testing",
    "unstable",
    "focal",
    "jammy",
    "noble",
    "plucky",
    "questing",
];

/// Settings for archives. Plain data, supplied by the embedder.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArchiveSettings {
    /// The root folder of the machine whose sources and keyrings are used.
    pub root: PathBuf,
    /// Package sources in place of the machine's.
    pub sources: Vec<Source>,
    /// Mirrors in place of the machine's, in order: `http[s]://HOST/PATH` or `file:/PATH`. The security updates of
    /// `…/debian` are looked up at `…/debian-security` too.
    pub mirrors: Vec<String>,
    /// Components of `mirrors`. Default: `main`, for Ubuntu `main` and `universe`.
    pub components: Vec<String>,
    /// Keyrings for sources without `Signed-By`. Default: those of the machine.
    pub keyrings: Vec<PathBuf>,
    /// The policy for releases without a valid signature.
    pub unsigned: UnsignedReleases,
    /// The policy for releases after their end of validity. Snapshot mirrors have no other.
    pub expired: ExpiredReleases,
    /// The cache folder, or a folder of the build.
    pub cache: PathBuf,
    /// The network policy.
    pub network: Network,
    /// Proxies, certificate authorities, timeouts and retries.
    pub connection: RegistrySettings,
    /// The current time, in seconds since 1970. Default: the clock.
    pub now: Option<i64>,
}

/// The policy for releases without a valid signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum UnsignedReleases {
    /// An error.
    #[default]
    Refuse,
    /// Accepted.
    Allow,
}

/// The policy for releases after their end of validity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpiredReleases {
    /// An error.
    #[default]
    Refuse,
    /// Accepted.
    Allow,
}

/// The verified indexes of a suite with its updates.
#[derive(Debug)]
pub struct Archive {
    suites: Vec<ArchiveSuite>,
    indexes: Vec<PackageIndex>,
    identity: Digest,
}

/// A suite of an archive.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ArchiveSuite {
    /// The name of the suite, such as `bookworm-security`.
    pub name: String,
    /// The fields of its release.
    pub release: Release,
    mirrors: Vec<MirrorUrl>,
}

/// A verified file `Packages`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PackageIndex {
    /// The file in the cache, compressed as fetched.
    pub path: PathBuf,
    /// The number of the suite in [`Archive::suites`].
    pub suite: usize,
    /// The component.
    pub component: String,
    /// The architecture: the wanted one, or `all`.
    pub architecture: String,
    compression: ArchiveCompression,
}

/// A package to download.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemotePackage {
    /// Base addresses of mirrors, in order.
    pub mirrors: Vec<String>,
    /// The path below the mirror, `Filename` of the index.
    pub path: String,
    /// The size in bytes.
    pub size: u64,
    /// The digest.
    pub sha256: Digest,
}

impl ArchiveSettings {
    /// Makes settings for this machine with a cache folder.
    pub fn new(cache: impl Into<PathBuf>) -> Self {
        Self {
            root: PathBuf::from("/"),
            sources: Vec::new(),
            mirrors: Vec::new(),
            components: Vec::new(),
            keyrings: Vec::new(),
            unsigned: UnsignedReleases::default(),
            expired: ExpiredReleases::default(),
            cache: cache.into(),
            network: Network::default(),
            connection: RegistrySettings::default(),
            now: None,
        }
    }

    fn seconds(&self) -> i64 {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        };
        self.now.unwrap_or_else(clock)
    }

    /// Returns the connection settings with the proxies of `configuration`, where no other is set.
    fn connection(&self, configuration: &AptConfiguration) -> RegistrySettings {
        let mut connection = self.connection.clone();
        let proxies = &mut connection.proxies;
        let mut direct = Vec::new();
        for (name, proxy) in
            [("Acquire::http::Proxy", &mut proxies.http), ("Acquire::https::Proxy", &mut proxies.https)]
        {
            let is_direct =
                |value: &str| value.is_empty() || value.eq_ignore_ascii_case("direct") || value == "false";
            if proxy.is_some() {
                continue;
            }
            if let Some(value) = configuration.get(name).filter(|value| !is_direct(value)) {
                *proxy = Some(value.trim_end_matches('/').into());
                let hosts = configuration.below(name).filter(|(_, value)| is_direct(value));
                direct.extend(hosts.map(|(host, _)| host.to_owned()));
            }
        }
        for host in direct {
            proxies.no_proxy =
                if proxies.no_proxy.is_empty() { host } else { format!("{},{host}", proxies.no_proxy) };
        }
        connection
    }

    fn fetcher(&self, configuration: &AptConfiguration) -> Result<Fetcher, AptError> {
        Fetcher::new(&self.connection(configuration), self.network, machine::credentials(&self.root)?)
    }

    /// Returns the sources of a suite, without looking at a mirror.
    fn requests(&self, suite: &str, architecture: &str) -> Result<Vec<SuiteRequest>, AptError> {
        if !self.sources.is_empty() {
            return suites::of_sources(&self.sources, architecture);
        }
        if !self.mirrors.is_empty() {
            return suites::of_mirrors(&self.mirrors, &self.components, suite);
        }
        let codename = suite_of_root(&self.root);
        suites::of_machine(&machine::sources(&self.root)?, codename.as_deref(), suite, architecture)
    }
}

impl Archive {
    /// Fetches and verifies the releases and indexes of `suite` for a Debian architecture such as `amd64`.
    ///
    /// Releases are requested every time, conditionally; with [`Network::Forbidden`] those in the cache are used.
    pub fn open(
        settings: &ArchiveSettings,
        suite: &str,
        architecture: &str,
        progress: &dyn Progress,
    ) -> Result<Self, AptError> {
        let requests = settings.requests(suite, architecture)?;
        let configuration = machine::configuration(&settings.root)?;
        let is_checked = |name| configuration.boolean(name) != Some(false);
        let opener = Opener {
            settings,
            fetcher: settings.fetcher(&configuration)?,
            checks_validity: is_checked("Acquire::Check-Valid-Until"),
            checks_date: is_checked("Acquire::Check-Date"),
            store: PackageStore::new(&settings.cache),
            now: settings.seconds(),
        };
        let threads = DOWNLOADS.min(requests.len().max(1));
        let found = parallel::each(
            requests.len(),
            threads,
            || Ok(()),
            |(), index| match requests.get(index) {
                Some(request) => opener.suite(request).map(|found| found.map(|found| (request, found))),
                None => Ok(None),
            },
        )?;
        let mut archive = Self { suites: Vec::new(), indexes: Vec::new(), identity: Digest::of(b"") };
        let mut wanted = Vec::new();
        for (request, suite) in found.into_iter().flatten() {
            let number = archive.suites.len();
            for index in indexes_of(&suite, request, architecture)? {
                wanted.push((number, request, index));
            }
            archive.suites.push(suite);
        }
        let has_release = archive.suites.iter().any(|found| found.name == suite);
        if archive.suites.is_empty() || (settings.sources.is_empty() && !has_release) {
            return Err(missing_suite(suite, &requests));
        }
        let mut hasher = Hasher::new();
        for (number, _, index) in &wanted {
            let name = archive.suites.get(*number).map(|suite| suite.name.as_str()).unwrap_or_default();
            let line = format!("{name} {} {}\n", index.path, index.identity);
            hasher.update(line.as_bytes());
        }
        archive.identity = hasher.finish();
        archive.indexes = parallel::each(
            wanted.len(),
            DOWNLOADS,
            || Ok(()),
            |(), at| match wanted.get(at) {
                Some((number, request, index)) => {
                    let suite = archive.suites.get(*number);
                    suite.map(|suite| opener.index(suite, *number, request, index, progress)).transpose()
                }
                None => Ok(None),
            },
        )?
        .into_iter()
        .flatten()
        .collect();
        Ok(archive)
    }

    /// Returns the suites, in the order of the sources.
    pub fn suites(&self) -> &[ArchiveSuite] {
        &self.suites
    }

    /// Returns the indexes, in the order of the sources.
    pub fn indexes(&self) -> &[PackageIndex] {
        &self.indexes
    }

    /// Returns a digest that changes if and only if an index changes.
    pub fn identity(&self) -> Digest {
        self.identity
    }

    /// Parses the indexes. Of equal packages in two suites, that of the first suite counts.
    pub fn universe(&self) -> Result<Universe, AptError> {
        let parsed = parallel::each(
            self.indexes.len(),
            parallel::cores(),
            || Ok(()),
            |(), at| {
                let Some(index) = self.indexes.get(at) else { return Ok(Vec::new()) };
                let suite = self.suites.get(index.suite).map(|suite| suite.name.clone()).unwrap_or_default();
                let parsed = index::parse(index.open()?, index.suite);
                parsed.map_err(|source| AptError::Packages {
                    suite,
                    component: index.component.clone(),
                    source,
                })
            },
        )?;
        Ok(Universe::new(parsed.into_iter().flatten().collect()))
    }

    /// Describes a package of [`universe`](Self::universe) for [`download`].
    pub fn remote_package(&self, record: &PackageRecord) -> RemotePackage {
        let sha256 = Digest::from_bytes(record.sha256.0);
        RemotePackage::new(self.mirrors(record.suite_index), &*record.filename, record.size, sha256)
    }

    /// Returns the base addresses of the mirrors of a suite, with their credentials.
    pub fn mirrors(&self, suite: usize) -> Vec<String> {
        let mirrors = self.suites.get(suite).map(|suite| suite.mirrors.as_slice()).unwrap_or_default();
        mirrors.iter().map(MirrorUrl::with_credentials).collect()
    }
}

impl PackageIndex {
    /// Opens the index, decompressed.
    pub fn open(&self) -> Result<impl BufRead, AptError> {
        let file = fs_err::File::open(&self.path).map_err(FileError::of("read", &self.path))?;
        let reader = self.compression.reader(BufReader::new(file), DECOMPRESSOR_BYTES);
        Ok(BufReader::new(reader.map_err(FileError::of("read", &self.path))?))
    }
}

impl RemotePackage {
    /// Describes a package: the base addresses of its mirrors, its path below, its size and its digest.
    pub fn new(mirrors: Vec<String>, path: impl Into<String>, size: u64, sha256: Digest) -> Self {
        Self { mirrors, path: path.into(), size, sha256 }
    }
}

impl fmt::Debug for RemotePackage {
    /// Leaves out the mirrors, which may have credentials.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemotePackage({} {})", self.path, self.sha256)
    }
}

/// Returns the base addresses of the mirrors that may have the packages of `suite`, without looking at them.
pub fn mirrors(settings: &ArchiveSettings, suite: &str, architecture: &str) -> Result<Vec<String>, AptError> {
    let mut bases: Vec<String> = Vec::new();
    for mirror in settings.requests(suite, architecture)?.iter().flat_map(|request| &request.mirrors) {
        let base = mirror.with_credentials();
        if !bases.contains(&base) {
            bases.push(base);
        }
    }
    Ok(bases)
}

/// Downloads packages in parallel. Returns their files in the cache, verified, in the order of `packages`.
pub fn download(
    settings: &ArchiveSettings,
    packages: &[RemotePackage],
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>, AptError> {
    let fetcher = settings.fetcher(&machine::configuration(&settings.root)?)?;
    let store = PackageStore::new(&settings.cache);
    let files = parallel::each(
        packages.len(),
        DOWNLOADS,
        || Ok(()),
        |(), index| {
            let Some(package) = packages.get(index) else { return Ok(None) };
            let mirrors = package
                .mirrors
                .iter()
                .map(|mirror| MirrorUrl::parse(mirror))
                .collect::<Result<Vec<_>, _>>()?;
            let file = WantedFile { path: &package.path, size: package.size, sha256: package.sha256 };
            fetch_file(&fetcher, &store, &mirrors, &file, progress).map(Some)
        },
    )?;
    Ok(files.into_iter().flatten().collect())
}

/// A file of a mirror.
struct WantedFile<'a> {
    path: &'a str,
    size: u64,
    sha256: Digest,
}

/// Returns a file of the cache, or fetches it from the first mirror that has it.
fn fetch_file(
    fetcher: &Fetcher,
    store: &PackageStore,
    mirrors: &[MirrorUrl],
    file: &WantedFile,
    progress: &dyn Progress,
) -> Result<PathBuf, AptError> {
    if let Some(path) = store.find(file.sha256) {
        return Ok(path);
    }
    let title = file.path.rsplit('/').next().unwrap_or_default();
    let reporter = TransferReporter { progress, digest: file.sha256, title, size: file.size };
    let mut errors = Vec::new();
    for mirror in mirrors {
        let mut partial = store.begin(file.sha256)?;
        let fetched = fetcher.file(mirror, file.path, file.size, &mut partial, &reporter);
        let error = match fetched.and_then(|()| Ok(partial.finish(file.sha256)?)) {
            Ok(Ok(path)) => {
                reporter.report(file.size, TransferState::Done);
                return Ok(path);
            }
            Ok(Err(found)) => AptError::Digest { url: mirror.file(file.path), expected: file.sha256, found },
            Err(error @ AptError::File(_)) if !mirror.is_local() => return Err(error),
            Err(error) => error,
        };
        errors.push(error);
    }
    Err(joined(title, errors))
}

/// Returns the error of all mirrors: a single one as it is, and the last if no mirror has the file.
fn joined(name: &str, mut errors: Vec<AptError>) -> AptError {
    let reasons: Vec<String> = errors.iter().map(|error| chain(error)).collect();
    let are_missing = errors.iter().all(|error| matches!(error, AptError::NotFound(_)));
    match errors.pop() {
        Some(error) if reasons.len() == 1 || are_missing => error,
        Some(last) => AptError::Everywhere { name: name.to_owned(), reasons, last: Box::new(last) },
        None => AptError::NotFound(name.to_owned()),
    }
}

/// An index to fetch.
struct WantedIndex {
    /// The path without the ending of a compression.
    path: String,
    component: String,
    architecture: String,
    file: IndexFile,
    compression: ArchiveCompression,
    /// The digest without compression, or if the release names none, of the file.
    identity: String,
}

/// Returns the indexes of the components of a suite.
fn indexes_of(
    suite: &ArchiveSuite,
    request: &SuiteRequest,
    architecture: &str,
) -> Result<Vec<WantedIndex>, AptError> {
    let release = &suite.release;
    let components = match request.components.as_slice() {
        [] if release.origin.as_deref() == Some("Ubuntu") => vec!["main".to_owned(), "universe".to_owned()],
        [] => vec!["main".to_owned()],
        named => named.to_vec(),
    };
    if !release.architectures.is_empty() && !release.architectures.iter().any(|known| known == architecture) {
        return Err(AptError::Architecture {
            architecture: architecture.to_owned(),
            suite: suite.name.clone(),
            known: release.architectures.clone(),
        });
    }
    if suite.name.ends_with('/') {
        let missing = || AptError::Index { path: "Packages".to_owned(), suite: suite.name.clone() };
        let prefixes = ["", "./"].into_iter();
        let found = prefixes
            .filter_map(|prefix| wanted_index(release, &format!("{prefix}Packages"), "", architecture));
        return Ok(vec![found.into_iter().next().ok_or_else(missing)?]);
    }
    let mut indexes = Vec::new();
    for component in components {
        if !release.components.is_empty() && !release.components.contains(&component) {
            let known = release.components.clone();
            return Err(AptError::Component { component, suite: suite.name.clone(), known });
        }
        let path = |architecture: &str| format!("{component}/binary-{architecture}/Packages");
        let missing = || AptError::Index { path: path(architecture), suite: suite.name.clone() };
        let index = wanted_index(release, &path(architecture), &component, architecture);
        indexes.push(index.ok_or_else(missing)?);
        let has_all = release.architectures.iter().any(|known| known == "all");
        if has_all && !release.all_in_every_architecture && architecture != "all" {
            indexes.extend(wanted_index(release, &path("all"), &component, "all"));
        }
    }
    Ok(indexes)
}

fn wanted_index(release: &Release, path: &str, component: &str, architecture: &str) -> Option<WantedIndex> {
    let (file, compression) = ArchiveCompression::ALL.into_iter().find_map(|compression| {
        let file = release.files.get(&format!("{path}{}", compression.ending()))?;
        Some((*file, compression))
    })?;
    let plain = release.files.get(path).unwrap_or(&file);
    Some(WantedIndex {
        path: path.to_owned(),
        component: component.to_owned(),
        architecture: architecture.to_owned(),
        identity: plain.sha256.to_string(),
        file,
        compression,
    })
}

/// Opens suites.
struct Opener<'a> {
    settings: &'a ArchiveSettings,
    fetcher: Fetcher,
    store: PackageStore,
    now: i64,
    /// Apt's settings; those of a source precede.
    checks_validity: bool,
    checks_date: bool,
}

impl Opener<'_> {
    /// Fetches the release of a suite from the first mirror that has it; `None` for an optional suite that none has, and
    /// for a suite of a third party.
    fn suite(&self, request: &SuiteRequest) -> Result<Option<ArchiveSuite>, AptError> {
        let mut errors = Vec::new();
        for (at, mirror) in request.mirrors.iter().enumerate() {
            let release = match self.release(request, mirror) {
                Ok(Some(release)) => release,
                Ok(None) => continue,
                Err(error @ (AptError::Fetch { .. } | AptError::Offline(_))) => {
                    errors.push(error);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let origin = release.origin.as_deref().unwrap_or_default();
            if request.file.is_some() && !DISTRIBUTIONS.contains(&origin) {
                return Ok(None);
            }
            let mut mirrors = request.mirrors.clone();
            mirrors.rotate_left(at);
            return Ok(Some(ArchiveSuite { name: request.suite.clone(), release, mirrors }));
        }
        if !errors.is_empty() {
            return Err(joined(&request.suite, errors));
        }
        match request.need {
            Need::Optional => Ok(None),
            Need::Required => Err(missing_suite(&request.suite, std::slice::from_ref(request))),
        }
    }

    /// Fetches and verifies a release; `None` if the mirror has no such suite.
    fn release(&self, request: &SuiteRequest, mirror: &MirrorUrl) -> Result<Option<Release>, AptError> {
        let path = format!("{}InRelease", folder_of(&request.suite));
        let url = mirror.file(&path);
        let known = self.store.release(&url);
        if self.settings.network == Network::Forbidden && !mirror.is_local() {
            let known = known.ok_or_else(|| AptError::Offline(url.clone()))?;
            return if known.is_absent() {
                Ok(None)
            } else {
                self.verified(request, mirror, &url, &known.bytes).map(Some)
            };
        }
        let known = known.filter(|known| !known.is_absent());
        let fetched = match self.fetcher.document(mirror, &path, known.as_ref(), RELEASE_BYTES)? {
            ReleaseResponse::Fetched(fetched) => fetched,
            ReleaseResponse::NotModified => {
                let known = known.ok_or_else(|| AptError::NotFound(url.clone()))?;
                return self.verified(request, mirror, &url, &known.bytes).map(Some);
            }
            ReleaseResponse::Missing if self.allows_unsigned(request) => {
                return self.unsigned_release(request, mirror);
            }
            ReleaseResponse::Missing => {
                self.keep(mirror, &url, &FetchedRelease::absent());
                return Ok(None);
            }
        };
        let release = self.verified(request, mirror, &url, &fetched.bytes)?;
        self.keep(mirror, &url, &fetched);
        Ok(Some(release))
    }

    /// Fetches the file `Release`, of archives without signatures.
    fn unsigned_release(
        &self,
        request: &SuiteRequest,
        mirror: &MirrorUrl,
    ) -> Result<Option<Release>, AptError> {
        let path = format!("{}Release", folder_of(&request.suite));
        let url = mirror.file(&path);
        match self.fetcher.document(mirror, &path, None, RELEASE_BYTES)? {
            ReleaseResponse::Fetched(fetched) => {
                self.verified(request, mirror, &url, &fetched.bytes).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn keep(&self, mirror: &MirrorUrl, url: &str, fetched: &FetchedRelease) {
        if !mirror.is_local() {
            self.store.keep_release(url, fetched);
        }
    }

    fn allows_unsigned(&self, request: &SuiteRequest) -> bool {
        request.trusted == Some(true) || self.settings.unsigned == UnsignedReleases::Allow
    }

    /// Verifies signature, name and age of a release.
    fn verified(
        &self,
        request: &SuiteRequest,
        mirror: &MirrorUrl,
        url: &str,
        bytes: &[u8],
    ) -> Result<Release, AptError> {
        let failed = |source| AptError::Release { url: url.to_owned(), source };
        let text = if self.allows_unsigned(request) {
            match SignedText::split(bytes) {
                Ok(signed) => signed.text().to_owned(),
                Err(ReleaseError::Unsigned) => String::from_utf8_lossy(bytes).into_owned(),
                Err(error) => return Err(failed(error)),
            }
        } else {
            let signed = SignedText::split(bytes).map_err(failed)?;
            let settings = self.settings;
            let keyring = machine::keyring(&settings.root, &request.signed_by, &settings.keyrings)?;
            let keyring = keyring.ok_or_else(|| AptError::NoKeyring(mirror.base().to_owned()))?;
            keyring.verify(&signed, self.now).map_err(failed)?;
            signed.text().to_owned()
        };
        let release = Release::parse(&text).map_err(failed)?;
        check_name(request, url, &release)?;
        self.check_age(request, mirror, url, &release)?;
        Ok(release)
    }

    fn check_age(
        &self,
        request: &SuiteRequest,
        mirror: &MirrorUrl,
        url: &str,
        release: &Release,
    ) -> Result<(), AptError> {
        let time = |seconds| Timestamp::from_second(seconds).unwrap_or_default();
        if let Some(date) = release.date.filter(|date| *date > self.now.saturating_add(CLOCK_SECONDS))
            && request.check_date.unwrap_or(self.checks_date)
        {
            return Err(AptError::Future { url: url.to_owned(), date: time(date) });
        }
        let is_checked = request.check_valid_until.unwrap_or(self.checks_validity)
            && self.settings.expired == ExpiredReleases::Refuse
            && !mirror.is_snapshot();
        match release.valid_until.filter(|until| is_checked && *until < self.now) {
            Some(until) => Err(AptError::Expired { url: url.to_owned(), until: time(until) }),
            None => Ok(()),
        }
    }

    /// Fetches and verifies an index.
    fn index(
        &self,
        suite: &ArchiveSuite,
        number: usize,
        request: &SuiteRequest,
        index: &WantedIndex,
        progress: &dyn Progress,
    ) -> Result<PackageIndex, AptError> {
        let sha256 = Digest::from_bytes(index.file.sha256.0);
        let folder = folder_of(&request.suite);
        let plain = format!("{folder}{}{}", index.path, index.compression.ending());
        let by_hash = index
            .path
            .rsplit_once('/')
            .map_or(String::new(), |(parent, _)| format!("{folder}{parent}/by-hash/SHA256/{}", sha256.hex()));
        let is_by_hash = request.by_hash.unwrap_or(suite.release.acquire_by_hash) && !by_hash.is_empty();
        if index.file.size > INDEX_BYTES {
            let (expected, found) = (INDEX_BYTES, index.file.size);
            return Err(AptError::Size { url: plain, expected, found });
        }
        let fetch = |path: &str| {
            let file = WantedFile { path, size: index.file.size, sha256 };
            fetch_file(&self.fetcher, &self.store, &suite.mirrors, &file, progress)
        };
        let path = match is_by_hash.then(|| fetch(&by_hash)) {
            // Copies of mirrors often leave out the folders `by-hash`.
            Some(Err(AptError::NotFound(_))) | None => fetch(&plain),
            Some(outcome) => outcome,
        };
        Ok(PackageIndex {
            path: path?,
            suite: number,
            component: index.component.clone(),
            architecture: index.architecture.clone(),
            compression: index.compression,
        })
    }
}

/// Checks that the release is of the wanted suite, as apt does: another signed release is no substitute.
fn check_name(request: &SuiteRequest, url: &str, release: &Release) -> Result<(), AptError> {
    let wanted = request.suite.trim_end_matches('/');
    // The security suite of old releases is called `buster/updates`, and `buster` in its release.
    let old = wanted.strip_suffix("/updates").unwrap_or(wanted);
    let is_unnamed = release.suite.is_none() && release.codename.is_none();
    if is_unnamed || request.suite.ends_with('/') || release.is_named(wanted) || release.is_named(old) {
        return Ok(());
    }
    let mut names: Vec<&str> =
        [&release.suite, &release.codename].into_iter().flatten().map(String::as_str).collect();
    names.dedup();
    Err(AptError::OtherSuite { url: url.to_owned(), found: names.join(" or ") })
}

/// Returns the error of a suite that none of the mirrors of its requests has.
fn missing_suite(suite: &str, requests: &[SuiteRequest]) -> AptError {
    let own = requests.iter().filter(|request| request.suite == suite).flat_map(|request| &request.mirrors);
    let mut mirrors: Vec<String> = own.map(|mirror| mirror.base().to_owned()).collect();
    mirrors.dedup();
    let known = SUITES.iter().filter(|known| **known != suite).map(|known| (*known).to_owned()).collect();
    AptError::Suite { suite: suite.to_owned(), mirrors, known }
}

/// Returns the folder of a suite below its mirror, empty or with a slash at the end. A suite that ends in a slash is an
/// exact path.
fn folder_of(suite: &str) -> String {
    let Some(path) = suite.strip_suffix('/') else { return format!("dists/{suite}/") };
    let path = path.trim_start_matches("./").trim_matches('/');
    if path.is_empty() || path == "." { String::new() } else { format!("{path}/") }
}
