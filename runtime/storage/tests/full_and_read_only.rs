//! A directory on a file system that fills up or becomes read-only: told apart, nothing half done, and well again by itself.
//!
//! Each test runs a second time, as a child in its own mount namespace with a small tmpfs; that takes root or user namespaces.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use weir_storage::{Effect, LocalStore, ObjectStore, ProbeError, Retry, StoreErrorKind, StoreOptions, probe};

/// Set in the child: where the tmpfs is.
const MOUNTED: &str = "WEIR_TEST_TMPFS";

/// The tmpfs, if this is the child; else runs the child, which does the work.
fn on_a_small_file_system(test: &str) -> Option<PathBuf> {
    if let Some(mounted) = std::env::var_os(MOUNTED) {
        return Some(mounted.into());
    }
    let folder = tempfile::tempdir().unwrap();
    let script = "mount -t tmpfs -o size=1m tmpfs \"$1\" && exec \"$2\" --exact \"$3\" --nocapture";
    let mut unshare = Command::new("unshare");
    unshare.args(["--mount", "--map-root-user", "sh", "-c", script, "sh"]);
    let child = unshare.arg(folder.path()).arg(std::env::current_exe().unwrap()).arg(test).env(MOUNTED, folder.path());
    let output = child.output().expect("unshare of util-linux is needed");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{test} in its own mount namespace:\n{said}");
    None
}

fn remount(folder: &Path, mode: &str) {
    let status = Command::new("mount").args(["-o", &format!("remount,{mode}")]).arg(folder).status().unwrap();
    assert!(status.success(), "remount,{mode}");
}

fn store(folder: &Path) -> LocalStore {
    LocalStore::new(folder.join("store"), StoreOptions::default())
}

#[tokio::test]
async fn a_full_file_system_is_full_and_not_broken() {
    let Some(folder) = on_a_small_file_system("a_full_file_system_is_full_and_not_broken") else { return };
    let store = store(&folder);
    let body = Bytes::from(vec![1; 100 << 10]);
    let mut keys = Vec::new();
    let error = loop {
        let key = format!("k/{:02}", keys.len());
        match store.create(&key, body.clone()).await {
            Ok(_) => keys.push(key),
            Err(error) => break error,
        }
    };
    assert!((5..11).contains(&keys.len()), "{}", keys.len());
    assert_eq!(
        (error.kind, error.retry, error.effect),
        (StoreErrorKind::Full, Retry::Yes, Effect::NotDone),
        "{error:?}"
    );
    assert!(error.to_string().contains("no space is left"), "{error}");
    let listed: Vec<String> = store.list("", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(listed, keys, "what did not fit is not there, and nothing was lost");
    assert_eq!(store.put("k/x", body.clone()).await.unwrap_err().kind, StoreErrorKind::Full);
    std::fs::write(folder.join("filler"), vec![1; 1 << 20]).unwrap_err();
    assert!(matches!(probe(&store).await, Err(ProbeError::Full { .. })));
    std::fs::remove_file(folder.join("filler")).unwrap();
    store.delete(&keys[..2]).await.unwrap();
    store.put("k/x", body).await.expect("there is room again");
}

#[tokio::test]
async fn a_read_only_file_system_is_refused_at_start_and_waited_for_later() {
    let test = "a_read_only_file_system_is_refused_at_start_and_waited_for_later";
    let Some(folder) = on_a_small_file_system(test) else { return };
    let store = store(&folder);
    store.put("k", Bytes::from_static(b"x")).await.unwrap();
    remount(&folder, "ro");
    for store in [&store, &self::store(&folder)] {
        let error = store.create("l", Bytes::from_static(b"x")).await.unwrap_err();
        assert_eq!((error.kind, error.retry, error.effect), (StoreErrorKind::ReadOnly, Retry::Yes, Effect::NotDone));
        let error = probe(store).await.unwrap_err();
        assert!(matches!(error, ProbeError::ReadOnly { .. }), "{error:?}");
        assert!(error.to_string().ends_with("is read-only: make it writable, or choose another place"), "{error}");
        assert_eq!(store.get("k").await.unwrap(), Bytes::from_static(b"x"), "reading goes on");
    }
    remount(&folder, "rw");
    store.create("l", Bytes::from_static(b"x")).await.unwrap();
    probe(&store).await.unwrap();
}
