//! Arguments of the caches that machines share.

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Args;
use ipo_oci::builder::Builder;
use ipo_oci::cache::SharedCache;
use ipo_oci::store::Access;
use ipo_oci::store::shared::{self, SharedCacheError};

use super::failure::Failure;

/// Which caches are shared with other machines.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Caches that machines share")]
pub(crate) struct SharedArguments {
    #[arg(help = format!("Take layers that another machine has made: {}; may be given more than once, the first that has \
                          a layer counts", shared::PLACES))]
    #[arg(long, value_name = "PLACE", value_delimiter = ',', env = "IPO_OCI_CACHE_FROM")]
    cache_from: Vec<String>,
    /// Keep layers there for other machines
    #[arg(long, value_name = "PLACE", value_delimiter = ',', env = "IPO_OCI_CACHE_TO")]
    cache_to: Vec<String>,
}

impl SharedArguments {
    /// The builder with these caches. None of them is asked before a layer is wanted.
    pub(crate) fn give(&self, mut builder: Builder, access: &Access) -> Result<Builder, Failure> {
        // One that is read and written is asked through the same connections.
        let mut opened: BTreeMap<String, Arc<dyn SharedCache>> = BTreeMap::new();
        let mut open = |places: &[String]| -> Result<Vec<Arc<dyn SharedCache>>, Failure> {
            let mut caches = Vec::new();
            for place in places.iter().filter(|place| !place.is_empty()) {
                let cache = shared::open(place, access).map_err(failure)?;
                caches.push(opened.entry(cache.name()).or_insert(cache).clone());
            }
            Ok(caches)
        };
        let (from, to) = (open(&self.cache_from)?, open(&self.cache_to)?);
        // What lies in the context is not source: the next build would hold it.
        for folder in self.cache_from.iter().chain(&self.cache_to).filter_map(|place| shared::folder(place)) {
            builder = builder.leave_out(folder);
        }
        Ok(builder.cache_from(from).cache_to(to))
    }
}

/// What is not written as a cache is wrong usage; what cannot be had has failed.
fn failure(error: SharedCacheError) -> Failure {
    match error {
        SharedCacheError::Place(_) | SharedCacheError::OneImage(_) | SharedCacheError::Repository { .. } => {
            Failure::argument(error)
        }
        error => Failure::failed(error),
    }
}
