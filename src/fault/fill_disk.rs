//! A folder inside a container is filled, and emptied again.

use std::time::Duration;

use bollard::body_stream;
use bollard::query_parameters::{ContainerArchiveInfoOptionsBuilder, UploadToContainerOptionsBuilder};
use futures_util::stream;
use serde::{Deserialize, Serialize};

use super::containers::{Act, Container, Seen};
use crate::experiment::units::{Bytes, Time};
use crate::record;
use crate::runtime::docker::engine::{CallError, Engine, ask};
use crate::runtime::docker::select::{self, Containers};

record! {
    /// Fills a folder of containers, such as a volume, with a file of zeros. It takes real space on the engine's disk.
    pub struct FillDisk {
        /// The folder inside the container; it must exist.
        path: String,
        /// The size of the file; less when the disk is full before.
        size: Bytes,
        /// For how long.
        r#for: Time,
        /// Which containers.
        containers: Containers = Containers::default(),
    }
}

/// What the file is called.
const FILE: &str = ".chaos-fill";
/// Zeros are sent in pieces of this size.
const PIECE: usize = 1 << 20;
const ZEROS: &[u8] = &[0; PIECE];
/// Writing may take a while: at the rate of a slow disk, and at least this long.
const LEAST_TIME: Duration = Duration::from_secs(30);
const SLOW_DISK_PER_S: u64 = 20 << 20;

#[derive(Serialize, Deserialize)]
pub struct Fill {
    folder: String,
}

impl Act for FillDisk {
    type Saved = Fill;
    const EVENTS: &'static [&'static str] = &["extract-to-dir"];

    fn which(&self) -> &Containers {
        &self.containers
    }

    fn verb(&self) -> String {
        format!("fills {} with {}", self.path, self.size)
    }

    fn held(&self) -> Option<Duration> {
        Some(self.r#for.0)
    }

    fn check(&self) -> Result<(), &'static str> {
        if !self.path.starts_with('/') {
            return Err("expected a `path` that begins with `/`");
        }
        if self.size.0 == 0 { Err("a file of no size fills nothing") } else { Ok(()) }
    }

    fn save(&self, _container: &Container) -> Result<Fill, String> {
        Ok(Fill { folder: self.path.clone() })
    }

    async fn strike(&self, engine: &Engine, id: &str, saved: &Fill) -> Result<(), String> {
        match write(engine, id, &saved.folder, self.size.0).await {
            // As full as can be.
            Err(CallError::Refused(why)) if why.contains("no space left") => Ok(()),
            other => other.map_err(|e| e.to_string()),
        }
    }

    async fn look(&self, engine: &Engine, container: Option<&Container>, saved: &Fill) -> Seen {
        let Some(container) = container else { return Seen::Broken("it is gone".to_owned()) };
        match size(engine, &select::id(container), &saved.folder).await {
            Ok(0) => Seen::Whole(format!("{} holds nothing of ours", saved.folder)),
            Ok(bytes) => Seen::Broken(format!("{} of {} lie in {}", Bytes(bytes), self.size, saved.folder)),
            Err(why) => Seen::Unknown(why),
        }
    }

    async fn restore(engine: &Engine, container: Option<&Container>, saved: &Fill) -> Result<String, String> {
        let container = container.ok_or("it was removed, and nothing has come in its place")?;
        let id = select::id(container);
        if size(engine, &id, &saved.folder).await? > 0 {
            write(engine, &id, &saved.folder, 0).await.map_err(|e| e.to_string())?;
        }
        let file = format!("{}/{FILE}", saved.folder.trim_end_matches('/'));
        // An image may hold no `rm`; the engine itself can only write files.
        let removed = engine.run_inside(&id, &["rm".to_owned(), "-f".to_owned(), file]).await.is_ok_and(|(code, _)| code == 0);
        Ok(if removed { format!("{} is as before", saved.folder) } else { format!("an empty file {FILE} is left in {}: the image has no `rm`", saved.folder) })
    }
}

/// How large our file is; 0 when there is none.
async fn size(engine: &Engine, id: &str, folder: &str) -> Result<u64, String> {
    let path = format!("{}/{FILE}", folder.trim_end_matches('/'));
    let options = ContainerArchiveInfoOptionsBuilder::default().path(&path).build();
    match ask(id, engine.docker.get_container_archive_info(id, Some(options))).await {
        Ok(info) => Ok(u64::try_from(info.size).unwrap_or(0)),
        Err(CallError::NotFound(_)) => Ok(0),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes our file with so many zeros, as an archive that is unpacked in the folder.
async fn write(engine: &Engine, id: &str, folder: &str, bytes: u64) -> Result<(), CallError> {
    let mut header = tar::Header::new_gnu();
    header.set_path(FILE).map_err(|e| CallError::Refused(e.to_string()))?;
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_cksum();
    let blocks = bytes.div_ceil(512) * 512 + 1024;
    let pieces = (0..blocks.div_ceil(PIECE as u64)).map(move |at| (blocks - at * PIECE as u64).min(PIECE as u64) as usize);
    let head = bytes::Bytes::copy_from_slice(header.as_bytes());
    let archive = stream::iter(std::iter::once(head).chain(pieces.map(|length| bytes::Bytes::from_static(&ZEROS[..length]))));
    let options = UploadToContainerOptionsBuilder::default().path(folder).build();
    let within = LEAST_TIME + Duration::from_secs(bytes / SLOW_DISK_PER_S);
    let sent = engine.docker.upload_to_container(id, Some(options), body_stream(archive));
    crate::runtime::docker::engine::ask_within(id, within, sent).await
}
