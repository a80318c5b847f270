//! Files in and out, in one piece and in parts.

use std::path::Path;

use super::bytes;
use crate::store::ObjectStore;

pub(super) async fn check(store: &dyn ObjectStore, lengths: &[usize]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for &length in lengths {
        files_come_back_as_they_went(store, folder.path(), length).await;
    }
    a_missing_file_is_not_a_missing_object(store, folder.path()).await;
    assert_eq!(store.open_uploads("").await.expect("open_uploads works"), [], "no upload stays open");
    assert_eq!(store.abort_uploads("").await.expect("abort_uploads works"), 0);
}

async fn files_come_back_as_they_went(store: &dyn ObjectStore, folder: &Path, length: usize) {
    let (key, body) = (format!("file/{length}"), bytes(length as u64, length));
    let (from, to) = (folder.join("from"), folder.join("to"));
    std::fs::write(&from, &body).expect("a file can be written");
    store.put_file(&key, &from).await.expect("put_file works");
    store.put_file(&key, &from).await.expect("put_file can be repeated");
    std::fs::remove_file(&from).expect("the caller may remove the file");
    assert_eq!(store.head(&key).await.expect("head works"), Some(length as u64));
    assert_eq!(store.get(&key).await.expect("get works"), body, "{length} bytes, whole");
    std::fs::write(&to, "what was there").expect("a file can be written");
    assert_eq!(store.get_file(&key, &to).await.expect("get_file works"), length as u64);
    assert_eq!(std::fs::read(&to).expect("the file is there"), body, "{length} bytes, to a file that existed");
    if length > 0 {
        let last = length as u64 - 1;
        assert_eq!(
            store.get_range(&key, last..length as u64).await.expect("get_range works"),
            body.slice(length - 1..)
        );
    }
    assert_eq!(std::fs::read_dir(folder).expect("the folder is there").count(), 1, "no leftovers");
    std::fs::remove_file(&to).expect("the caller may remove the file");
    assert_eq!(store.get(&key).await.expect("get works"), body, "the object does not go with the file");
}

async fn a_missing_file_is_not_a_missing_object(store: &dyn ObjectStore, folder: &Path) {
    let error = store.put_file("file/none", &folder.join("none")).await.expect_err("there is no such file");
    assert!(!error.is_not_found() && !error.may_be_done(), "{error:?}");
    assert_eq!(store.head("file/none").await.expect("head works"), None);
    store.put("file/some", bytes(1, 10)).await.expect("put works");
    let error = store.get_file("file/some", &folder.join("no/folder/file")).await.expect_err("there is no such folder");
    assert!(!error.is_not_found(), "{error:?}");
}
