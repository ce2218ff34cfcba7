//! The task that owns the store: writes and reads in the order they are asked for.

use sotto_peer_core::{Input, LoadId, Query, WriteSet, WriteToken};
use tokio::sync::mpsc;

use crate::profile::{Store, StoreError, WriteWatcher};

pub(super) enum Job {
    Write(WriteToken, WriteSet),
    Read(LoadId, Query),
}

/// Works until `jobs` ends or a job fails: nothing written after a failed write may be believed. The core has one
/// write on its way at a time and makes the next one larger meanwhile, so there is nothing to gather here.
pub(super) async fn serve(
    mut store: Store,
    mut jobs: mpsc::UnboundedReceiver<Job>,
    done: mpsc::UnboundedSender<Input>,
    watcher: Option<WriteWatcher>,
) -> Result<(), StoreError> {
    while let Some(job) = jobs.recv().await {
        let input = match job {
            Job::Write(token, writes) => {
                store.apply(&writes).await?;
                if let Some(watcher) = &watcher {
                    // Who watched may have lost interest.
                    drop(watcher.send(writes));
                }
                Input::Persisted(token)
            }
            Job::Read(id, query) => Input::Loaded { id, rows: store.load(&query).await? },
        };
        // Fails if the driver has ended; what it handed over is written all the same.
        drop(done.send(input));
    }
    store.close().await
}
