//! Stores a backup and confirms it. What is not confirmed is taken away only where it can be nobody else's.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::{Doubt, Left};
use super::local::publish;
use super::upload::Ours;
use super::{Content, Error, Store};
use crate::backup::evidence::Evidence;
use crate::backup::name::BackupName;
use crate::exit::Exit;
use crate::system::blocking::blocking;

impl Store {
    /// Stores `file`, which has `content`, as `name` and confirms it, or fails with [`Error::Taken`] or [`Error::OnItsWay`].
    /// Nothing is ever overwritten.
    pub async fn put(&self, file: &Path, name: &BackupName, content: &Content) -> Result<Evidence, Error> {
        let uploaded = self.upload(file, &name.leaf()).await;
        self.conclude(name, content, Some(file), uploaded).await.map(|(evidence, _)| evidence)
    }

    /// Confirms what was uploaded with this outcome.
    pub(super) async fn conclude(
        &self,
        name: &BackupName,
        content: &Content,
        file: Option<&Path>,
        uploaded: Result<Ours, Error>,
    ) -> Result<(Evidence, Ours), Error> {
        let error = match uploaded {
            Ok(ours) => {
                let compared = self.compare(name, content, file).await;
                return self.settle(name, ours, compared).await.map(|evidence| (evidence, ours));
            }
            Err(error) => error.may("store new objects there"),
        };
        if error.exit() != Exit::Store {
            return Err(error);
        }
        // Perhaps only the answer was lost. rclone's next try then finds the name taken by its own first one.
        match self.compare(name, content, file).await {
            Ok(evidence) => {
                tracing::warn!("the upload failed, but the object is there and identical to what was sent: {error}");
                Ok((evidence, Ours::Unknown))
            }
            Err(Doubt::Absent) if matches!(error, Error::OnItsWay(_)) => Err(error),
            Err(_) if error.is_name_taken() => Err(Error::Taken(self.object_path(name))),
            Err(doubt @ Doubt::Differs(_)) => {
                tracing::warn!("the upload failed: {error}");
                Err(Error::NotConfirmed { name: name.to_string(), doubt, left: Left::There })
            }
            Err(_) => Err(error),
        }
    }

    /// Gives `file`, which lies on the file system of a local target, the name of a backup there, and confirms it.
    pub async fn place(&self, file: &Path, name: &BackupName, content: &Content) -> Result<Evidence, Error> {
        let (from, to) = (file.to_owned(), PathBuf::from(self.object_path(name)));
        let directory = self.local_directory().unwrap_or_default();
        let rename = move || {
            fs::create_dir_all(&directory).map_err(|cause| {
                let path = directory.clone();
                Error::Local { doing: "create the directory", path, cause }
            })?;
            publish(&from, &to)
        };
        blocking(rename).await?;
        let compared = self.compare(name, content, None).await;
        self.settle(name, Ours::Renamed, compared).await
    }

    async fn settle(
        &self,
        name: &BackupName,
        ours: Ours,
        compared: Result<Evidence, Doubt>,
    ) -> Result<Evidence, Error> {
        let doubt = match compared {
            Ok(evidence) => return Ok(evidence),
            Err(doubt) => doubt,
        };
        let left = match &doubt {
            Doubt::Absent => Left::Nothing,
            Doubt::Differs(_) if self.is_provably_ours(ours, &name.leaf()).await => {
                let removed = self.delete_file(&self.object_path(name)).await;
                removed.map_or_else(|error| Left::NotRemoved(error.to_string()), |()| Left::Removed)
            }
            // Reading it may go well the next time, or another run's backup may stand there.
            Doubt::Differs(_) | Doubt::Unread(_) => Left::There,
        };
        Err(Error::NotConfirmed { name: name.to_string(), doubt, left })
    }
}
