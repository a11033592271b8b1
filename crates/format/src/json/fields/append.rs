//! Objects that come as tokens, for the formats that are not JSON.

use super::{Fields, SEARCH_COLUMNS_MAX};
use crate::json::fault::Result;
use crate::token::Source;

impl Fields {
    /// Appends the members of the map that was begun at byte `at` to the columns, each of which has `len` values.
    ///
    /// # Errors
    /// What does not fit. The columns are then of different lengths, until they are truncated.
    pub(crate) fn append_members<'a>(
        &mut self,
        source: &mut impl Source<'a>,
        at: usize,
        len: usize,
    ) -> Result<()> {
        self.object += 1;
        let mut found = 0;
        // Members mostly come in the order of the columns.
        let mut guess = 0;
        while source.more()? {
            let name = source.name()?;
            let Some(index) = self.column_of(&name, guess) else {
                source.skip()?;
                continue;
            };
            guess = index + 1;
            let again = self.seen[index] == self.object;
            if again {
                self.columns[index].truncate(len);
            }
            self.seen[index] = self.object;
            self.columns[index]
                .append(source)
                .map_err(|fault| fault.in_field(&self.names[index]))?;
            found += usize::from(!again);
        }
        if found < self.columns.len() {
            self.fill(at)?;
        }
        Ok(())
    }

    fn column_of(&self, name: &str, guess: usize) -> Option<usize> {
        if self.names.get(guess).is_some_and(|known| known == name) {
            return Some(guess);
        }
        if self.names.len() > SEARCH_COLUMNS_MAX {
            return self.by_name.get(name.as_bytes()).copied();
        }
        self.names.iter().position(|known| known == name)
    }
}
