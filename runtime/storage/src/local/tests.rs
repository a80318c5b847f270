//! What only a directory can get wrong: leftovers, links, races with pruning, odd files.

use super::*;
use crate::error::{Effect, Retry};
use std::process::Command;

fn store(root: &Path) -> LocalStore {
    LocalStore::new(root, StoreOptions::default())
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// All files below `root`, scratch included.
fn files(root: &Path) -> Vec<String> {
    let output = Command::new("find").arg(root).args(["-mindepth", "1", "-printf", "%P\n"]).output().unwrap();
    let mut names: Vec<String> = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_store_leaves_nothing_but_objects_behind() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.put("a/b", body("1")).await.unwrap();
    assert_eq!(store.create("a/c", body("2")).await.unwrap(), Created::Done);
    assert_eq!(store.create("a/c", body("3")).await.unwrap(), Created::Exists);
    drop(store);
    assert_eq!(files(root.path()), ["a", "a/b", "a/c"]);
}

#[tokio::test]
async fn empty_folders_vanish_with_their_last_object() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.put("a/b/c", body("1")).await.unwrap();
    store.put("a/d", body("1")).await.unwrap();
    store.delete(&["a/b/c".to_owned()]).await.unwrap();
    drop(store);
    assert_eq!(files(root.path()), ["a", "a/d"]);
}

#[tokio::test]
async fn scratch_of_dead_processes_is_removed_and_that_of_living_ones_kept() {
    let root = tempfile::tempdir().unwrap();
    let living = store(root.path());
    living.put("x", body("1")).await.unwrap();
    let living_files = files(root.path());
    let dead = root.path().join(crate::key::SCRATCH);
    fs::create_dir(dead.join("0123")).unwrap();
    fs::write(dead.join("0123/7"), "half").unwrap();
    fs::write(dead.join("0123.lock"), "").unwrap();
    let other = store(root.path());
    other.put("y", body("1")).await.unwrap();
    assert!(!dead.join("0123").exists() && !dead.join("0123.lock").exists());
    for file in living_files {
        assert!(root.path().join(&file).exists(), "{file}");
    }
}

#[tokio::test]
async fn a_removed_directory_is_begun_anew() {
    let root = tempfile::tempdir().unwrap();
    let store = store(&root.path().join("deep/root"));
    store.put("a", body("1")).await.unwrap();
    fs::remove_dir_all(root.path().join("deep")).unwrap();
    assert_eq!(store.head("a").await.unwrap(), None);
    store.put("a", body("2")).await.unwrap();
    assert_eq!(store.get("a").await.unwrap(), body("2"));
}

#[tokio::test]
async fn files_are_linked_in_and_out_and_replaced_when_different() {
    let root = tempfile::tempdir().unwrap();
    let work = tempfile::tempdir_in(root.path().parent().unwrap()).unwrap();
    let store = store(root.path());
    let file = work.path().join("f");
    fs::write(&file, "content").unwrap();
    store.put_file("runs/1", &file).await.unwrap();
    store.put_file("runs/1", &file).await.unwrap();
    assert_eq!(fs::metadata(&file).unwrap().nlink(), 2);
    let out = work.path().join("out");
    fs::write(&out, "old").unwrap();
    assert_eq!(store.get_file("runs/1", &out).await.unwrap(), 7);
    assert_eq!(store.get_file("runs/1", &out).await.unwrap(), 7);
    assert_eq!((fs::read(&out).unwrap().as_slice(), fs::metadata(&out).unwrap().nlink()), (b"content".as_slice(), 3));
    let other = work.path().join("g");
    fs::write(&other, "other").unwrap();
    store.put_file("runs/1", &other).await.unwrap();
    assert_eq!((store.get("runs/1").await.unwrap(), fs::read(&out).unwrap()), (body("other"), b"content".to_vec()));
    assert_eq!(files(work.path()), ["f", "g", "out"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_survive_folders_pruned_under_them() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    let tasks: Vec<_> = (0..8)
        .map(|task| {
            let store = store.clone();
            tokio::spawn(async move {
                for round in 0..50 {
                    let key = format!("a/b/{task}-{round}");
                    assert_eq!(store.create(&key, body("x")).await.unwrap(), Created::Done);
                    store.delete(&[key]).await.unwrap();
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(store.list("", None).await.unwrap(), []);
}

#[tokio::test]
async fn a_missing_directory_reads_as_empty_and_is_not_made() {
    let root = tempfile::tempdir().unwrap();
    let missing = root.path().join("missing");
    let store = store(&missing);
    assert_eq!(store.list("", None).await.unwrap(), []);
    assert!(store.get("a").await.unwrap_err().is_not_found());
    store.delete(&["a".to_owned()]).await.unwrap();
    assert!(!missing.exists());
}

#[tokio::test]
async fn foreign_entries_are_not_listed() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.put("a/x", body("1")).await.unwrap();
    std::os::unix::fs::symlink("/etc", root.path().join("a/link")).unwrap();
    let keys: Vec<String> = store.list("", None).await.unwrap().into_iter().map(|object| object.key).collect();
    assert_eq!(keys, ["a/x"]);
}

#[tokio::test]
async fn an_object_in_a_folder_s_place_is_named() {
    let root = tempfile::tempdir().unwrap();
    let store = store(root.path());
    store.put("a", body("1")).await.unwrap();
    let error = store.put("a/b", body("2")).await.unwrap_err();
    assert_eq!((error.kind, error.effect), (StoreErrorKind::Other, Effect::NotDone));
    assert!(error.to_string().starts_with("put \"a/b\" in file:///"), "{error}");
    assert!(store.get("a/b").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn a_missing_local_file_is_not_a_missing_object() {
    let root = tempfile::tempdir().unwrap();
    let error = store(root.path()).put_file("a", Path::new("/nonexistent/file")).await.unwrap_err();
    assert!(!error.is_not_found(), "{error}");
}

#[test]
fn full_and_read_only_file_systems_can_pass_and_say_so() {
    for (error, kind) in [
        (io::ErrorKind::StorageFull, StoreErrorKind::Full),
        (io::ErrorKind::QuotaExceeded, StoreErrorKind::Full),
        (io::ErrorKind::ReadOnlyFilesystem, StoreErrorKind::ReadOnly),
    ] {
        let error = failed("cannot write")(error.into()).into_error(Operation::Put, "k", &"file:///x".into());
        assert_eq!((error.kind, error.retry, error.effect), (kind, Retry::Yes, Effect::NotDone));
    }
    let denied = failed("cannot write")(io::ErrorKind::PermissionDenied.into()).into_error(
        Operation::Put,
        "k",
        &"file:///x".into(),
    );
    assert_eq!((denied.kind, denied.retry), (StoreErrorKind::Denied, Retry::No));
    let unsynced =
        unsure("cannot sync")(io::ErrorKind::StorageFull.into()).into_error(Operation::Put, "k", &"file:///x".into());
    assert_eq!(unsynced.effect, Effect::MaybeDone);
}
