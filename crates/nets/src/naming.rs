//! How the weight files of a family of networks name its tensors, where the module cannot or need not.

/// A family's spelling. All pairs are parts of names, replaced wherever they stand, in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Naming {
    /// (in old files, in files of today).
    pub(crate) older: &'static [(&'static str, &'static str)],
    /// (in files of today, in the module).
    pub(crate) spelled: &'static [(&'static str, &'static str)],
    /// Beginnings, in files of today, of tensors that the module has no use for.
    pub(crate) unused: &'static [&'static str],
}

impl Naming {
    /// The names of diffusers, and those that it gave to attention layers before.
    pub(crate) const DIFFUSERS: Self = Self {
        older: &[
            (".query.", ".to_q."),
            (".key.", ".to_k."),
            (".value.", ".to_v."),
            (".proj_attn.", ".to_out.0."),
        ],
        spelled: &[],
        unused: &[],
    };

    /// The module's name for a stored tensor; none if it is unused.
    pub(crate) fn in_module(&self, stored: &str) -> Option<String> {
        let replace = |name: String, (from, to): &(&str, &str)| name.replace(from, to);
        let today = self.older.iter().fold(stored.to_owned(), replace);
        if self.unused.iter().any(|start| today.starts_with(start)) {
            return None;
        }
        Some(self.spelled.iter().fold(today, replace))
    }

    /// The name in a file of today for a parameter of the module.
    pub(crate) fn in_file(&self, name: &str) -> String {
        self.spelled
            .iter()
            .fold(name.to_owned(), |name, (stored, ours)| {
                name.replace(ours, stored)
            })
    }
}
