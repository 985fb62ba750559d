//! Arguments of remote caches.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use ipo_oci::builder::Builder;
use ipo_oci::cache::RemoteCache;
use ipo_oci::store::Access;
use ipo_oci::store::remote_cache::{self, CacheLocationError};

use super::access::CACHE_HEADING;
use super::failure::Failure;

/// The remote caches of a build.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = CACHE_HEADING)]
pub(crate) struct RemoteCacheArguments {
    #[arg(hide_short_help = true)]
    #[arg(help = format!("Read layers from this remote cache: {}; repeatable, in order of precedence", remote_cache::LOCATIONS))]
    #[arg(long, value_name = "PLACE", value_delimiter = ',', env = "IPO_OCI_CACHE_FROM")]
    cache_from: Vec<String>,
    /// Write layers to this remote cache; repeatable
    #[arg(hide_short_help = true)]
    #[arg(long, value_name = "PLACE", value_delimiter = ',', env = "IPO_OCI_CACHE_TO")]
    cache_to: Vec<String>,
}

impl RemoteCacheArguments {
    /// Adds the caches to the builder. They are contacted only when a layer is needed.
    pub(crate) fn add_to(&self, mut builder: Builder, access: &Access) -> Result<Builder, Failure> {
        // A cache that is both read and written shares its connections.
        let mut opened: BTreeMap<String, Arc<dyn RemoteCache>> = BTreeMap::new();
        let mut open = |places: &[String]| -> Result<Vec<Arc<dyn RemoteCache>>, Failure> {
            let mut caches = Vec::new();
            for place in places.iter().filter(|place| !place.is_empty()) {
                let cache = remote_cache::open(place, access).map_err(failure)?;
                caches.push(opened.entry(cache.name()).or_insert(cache).clone());
            }
            Ok(caches)
        };
        let (from, to) = (open(&self.cache_from)?, open(&self.cache_to)?);
        // Caches in the context are not source: the next build would include them.
        for folder in
            self.cache_from.iter().chain(&self.cache_to).filter_map(|place| remote_cache::folder(place))
        {
            builder = builder.exclude(folder);
        }
        Ok(builder.cache_from(from).cache_to(to))
    }
}

/// An invalid cache reference is wrong usage; an unavailable cache is a failure.
fn failure(error: CacheLocationError) -> Failure {
    match error {
        CacheLocationError::Invalid(_)
        | CacheLocationError::OneImage(_)
        | CacheLocationError::Repository { .. } => Failure::argument(error),
        error => Failure::failed(error),
    }
}
