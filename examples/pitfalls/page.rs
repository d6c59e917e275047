//! The page that tells the stories holds what the program says, word for word:
//!
//! ````text
//! ```text NAME
//! what it says
//! ```
//! ````

use std::{fs, ops::Range, path::Path};

use crate::Result;

/// Where the block of this name has its text.
fn block(page: &str, name: &str) -> Result<Range<usize>> {
    let head = format!("```text {name}\n");
    let start = page.find(&head).ok_or(format!("no block {name}"))? + head.len();
    let length = page[start..].find("```").ok_or("a block without an end")?;
    Ok(start..start + length)
}

pub(crate) fn check(file: &Path, name: &str, said: &str) -> Result<()> {
    let page = fs::read_to_string(file)?;
    if &page[block(&page, name)?] == said {
        return Ok(());
    }
    let page = file.display();
    Err(format!("{page} says something else of {name}: run with --write {page}").into())
}

pub(crate) fn write(file: &Path, name: &str, said: &str) -> Result<()> {
    let mut page = fs::read_to_string(file)?;
    page.replace_range(block(&page, name)?, said);
    Ok(fs::write(file, page)?)
}
