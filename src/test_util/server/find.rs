//! Where the server's binary is.

use std::{env::consts::EXE_SUFFIX, ffi::OsString, path::PathBuf};

use super::StartError;

/// The environment variable that names a binary.
pub(super) const VARIABLE: &str = "REDLATCH_SERVER";

const NAMES: [&str; 2] = ["valkey-server", "redis-server"];

/// The binary that is `named`, or else the first server on `path`.
pub(super) fn find(named: Option<OsString>, path: Option<OsString>) -> Result<PathBuf, StartError> {
    if let Some(named) = named.filter(|named| !named.is_empty()) {
        return Ok(named.into());
    }
    let path = path.unwrap_or_default();
    NAMES
        .iter()
        .flat_map(|name| std::env::split_paths(&path).map(move |folder| folder.join(name)))
        .map(|file| {
            let mut file = file.into_os_string();
            file.push(EXE_SUFFIX);
            PathBuf::from(file)
        })
        .find(|file| file.is_file())
        .ok_or(StartError::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valkey_is_taken_before_redis_wherever_it_is_on_the_path() {
        let root = std::env::temp_dir().join(format!("redlatch-find-{}", std::process::id()));
        let (first, second) = (root.join("1"), root.join("2"));
        for (folder, name) in [(&first, "redis-server"), (&second, "valkey-server")] {
            std::fs::create_dir_all(folder).expect("a folder");
            std::fs::write(folder.join(format!("{name}{EXE_SUFFIX}")), "").expect("a file");
        }
        let path = |folders: &[&PathBuf]| Some(std::env::join_paths(folders).expect("plain"));
        let both = find(None, path(&[&first, &second])).expect("there");
        assert!(both.starts_with(&second), "{both:?}");
        let redis = find(Some(OsString::new()), path(&[&first])).expect("there");
        assert!(redis.starts_with(&first), "{redis:?}");
        let named = find(Some("/some/where".into()), path(&[&first])).expect("named");
        assert_eq!(named, PathBuf::from("/some/where"));
        std::fs::remove_dir_all(root).expect("ours");
    }

    #[test]
    fn where_there_is_none_it_is_said_what_to_install() {
        for path in [None, Some("/nowhere".into())] {
            let error = find(None, path).expect_err("no server");
            assert!(matches!(error, StartError::NotFound), "{error:?}");
            let text = error.to_string();
            for word in ["valkey-server", "redis-server", "install", VARIABLE] {
                assert!(text.contains(word), "{text}");
            }
        }
    }
}
