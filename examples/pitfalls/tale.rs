//! What the reader sees: what everybody does, and what follows from it.

use std::cell::RefCell;

use crate::Result;

/// Says every line at once, and keeps it for the page.
pub(crate) struct Tale {
    name: &'static str,
    said: RefCell<String>,
}

impl Tale {
    pub(crate) fn begin(name: &'static str, title: &str) -> Self {
        println!("\n{name}: {title}\n");
        Self {
            name,
            said: RefCell::default(),
        }
    }

    /// A new part begins.
    pub(crate) fn part(&self, head: &str) {
        if !self.said.borrow().is_empty() {
            self.line("");
        }
        self.line(&format!("{head}:"));
    }

    /// Somebody does something.
    pub(crate) fn does(&self, who: &str, what: &str) {
        self.line(&format!("  {who}: {what}"));
    }

    /// What happens to all of them.
    pub(crate) fn meanwhile(&self, what: &str) {
        self.line(&format!("  ({what})"));
    }

    /// What follows, if it is so.
    pub(crate) fn so(&self, what: &str, is_so: bool) -> Result<()> {
        if is_so {
            self.line(&format!("  => {what}"));
            Ok(())
        } else {
            Err(format!("{}: it did not happen that {what}", self.name).into())
        }
    }

    pub(crate) fn end(self) -> String {
        self.said.into_inner()
    }

    fn line(&self, line: &str) {
        println!("{line}");
        let mut said = self.said.borrow_mut();
        said.push_str(line);
        said.push('\n');
    }
}
