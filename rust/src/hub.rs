//! The Hugging Face hub's cache on disk, and downloads into it. Nothing here reads HF_* variables: the caller did.

use crate::ffi::HubSource;
use crate::guard::guard;
use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, Repo, RepoType};
use std::error::Error;
use std::path::{Path, PathBuf};

fn repo_of(source: &HubSource) -> Repo {
    Repo::with_revision(source.id.clone(), RepoType::Model, source.revision.clone())
}

fn path_text(path: &Path) -> Result<String, String> {
    path.to_str().map(str::to_owned).ok_or_else(|| format!("path {} is not valid UTF-8", path.display()))
}

/// The message of an error and of everything that caused it.
fn explain(error: ApiError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = inner.source();
    }
    text
}

fn api_repo(source: &HubSource) -> Result<ApiRepo, String> {
    let token = (!source.token.is_empty()).then(|| source.token.clone());
    let api: Api = ApiBuilder::from_cache(Cache::new(PathBuf::from(&source.cache_dir)))
        .with_progress(false)
        .with_endpoint(source.endpoint.clone())
        .with_token(token)
        .with_retries(2)
        .with_user_agent("swage", env!("CARGO_PKG_VERSION"))
        .build()
        .map_err(explain)?;
    Ok(api.repo(repo_of(source)))
}

/// The snapshot folder that holds `source.id`'s config.json in the cache, or an empty string.
pub fn hub_cached_snapshot(source: &HubSource) -> Result<String, String> {
    guard(|| {
        let cache = Cache::new(PathBuf::from(&source.cache_dir));
        match cache.repo(repo_of(source)).get("config.json") {
            Some(file) => path_text(file.parent().unwrap_or(&file)),
            None => Ok(String::new()),
        }
    })
}

/// Names of the repository's files, as the hub lists them.
pub fn hub_list_files(source: &HubSource) -> Result<Vec<String>, String> {
    guard(|| {
        let info = api_repo(source)?.info().map_err(explain)?;
        Ok(info.siblings.into_iter().map(|file| file.rfilename).collect())
    })
}

/// Brings one file into the cache unless it is there; returns its path inside the snapshot folder.
pub fn hub_fetch_file(source: &HubSource, file: &str) -> Result<String, String> {
    guard(|| {
        let path = api_repo(source)?.get(file).map_err(explain)?;
        path_text(&path)
    })
}
