//! State on disk: runs on their way there, and those that are there on their way into a window, or into one run.
//!
//! The groups of a run are divided into partitions by a hash of their keys, so that a merge needs the memory of one partition
//! and not of all. A run that is to be merged with one on disk is first put there, too.

use std::sync::Arc;

use datafusion::common::Result;

use super::chore::last_after;
use super::groups::{Chunk, Grouping, Groups};
use super::merge::Merge;
use super::run::{Cursor, Run};
use crate::durable::divide::by_hash;
use crate::spool::{Spool, SpoolFile};

/// How many partitions there are. A prime, since a worker has the keys whose hash leaves some remainder: of most numbers
/// of partitions it would need but a few.
const PARTITIONS: usize = if cfg!(test) { 3 } else { 31 };

/// A run on its way to disk.
pub(super) struct Spilling {
    from: Cursor,
    into: Run,
    file: Arc<SpoolFile>,
}

impl Spilling {
    pub(super) fn new(run: &Arc<Run>, file: Arc<SpoolFile>) -> Self {
        Self {
            from: Cursor::new(Arc::clone(run), None),
            into: Run::empty(run.layout().clone(), run.after),
            file,
        }
    }

    /// Writes so many groups; how many of them it did not need.
    pub(super) fn step(&mut self, most: usize) -> Result<usize> {
        let mut most = most;
        while most > 0
            && let Some(groups) = self.from.next(most)?
        {
            most -= groups.groups;
            let shares = by_hash(&groups.to_rows()?, groups.keys, PARTITIONS)?;
            for (partition, rows) in shares {
                let spilled = self.file.write(&rows)?;
                self.into.add_on_disk(partition, rows.num_rows(), spilled);
            }
        }
        Ok(most)
    }

    pub(super) fn is_done(&self) -> bool {
        self.from.is_done()
    }

    /// The run on disk, when it is done.
    pub(super) fn into_run(self) -> Arc<Run> {
        Arc::new(self.into)
    }
}

/// Runs of which some are on disk, on their way into tables of groups, one for each partition.
pub(super) struct Division {
    runs: Vec<Arc<Run>>,
    /// All runs before this one are on disk.
    run: usize,
    spilling: Option<Spilling>,
    file: Arc<SpoolFile>,
    /// The next one.
    partition: usize,
    merge: Option<Merge>,
}

impl Division {
    pub(super) fn new(runs: Vec<Arc<Run>>, spool: &Spool) -> Result<Self> {
        Ok(Self {
            runs,
            run: 0,
            spilling: None,
            file: spool.file()?,
            partition: 0,
            merge: None,
        })
    }

    /// Writes or merges so many groups, and gives those of a partition when they are complete; how many it did not need.
    pub(super) fn step(
        &mut self,
        most: usize,
        grouping: &Grouping,
    ) -> Result<(Option<Groups>, usize)> {
        if let Some(run) = self.runs.get_mut(self.run) {
            if run.is_divided() {
                self.run += 1;
                return Ok((None, most));
            }
            let new = || Spilling::new(run, Arc::clone(&self.file));
            let spilling = self.spilling.get_or_insert_with(new);
            let rest = spilling.step(most)?;
            if let Some(done) = self.spilling.take_if(|spilling| spilling.is_done()) {
                *run = done.into_run();
            }
            return Ok((None, rest));
        }
        let merge = match &mut self.merge {
            Some(merge) => merge,
            none => {
                let mut merge = Merge::new(grouping.groups()?, []);
                merge.add(self.runs.iter().cloned(), Some(self.partition));
                if merge.is_done() {
                    // without keys all is in one partition
                    self.partition += 1;
                    return Ok((None, most));
                }
                none.insert(merge)
            }
        };
        let rest = merge.step(most)?;
        let done = self.merge.take_if(|merge| merge.is_done());
        self.partition += usize::from(done.is_some());
        Ok((done.map(Merge::into_groups), rest))
    }

    /// Whether all partitions were given.
    pub(super) fn is_done(&self) -> bool {
        self.partition == PARTITIONS
    }

    /// In bytes, without the runs.
    pub(super) fn size(&self) -> usize {
        self.merge.as_ref().map_or(0, Merge::size)
    }
}

/// Runs of which some are on disk, on their way into one that is.
pub(super) struct Rewriting {
    division: Division,
    into: Run,
}

impl Rewriting {
    /// Of one run or more.
    pub(super) fn new(runs: &[Arc<Run>], spool: &Spool) -> Result<Self> {
        let layout = runs.first().map(|run| run.layout().clone());
        Ok(Self {
            into: Run::empty(layout.unwrap_or_default(), last_after(runs)),
            division: Division::new(runs.to_vec(), spool)?,
        })
    }

    /// Writes or merges so many groups; how many of them it did not need.
    pub(super) fn step(&mut self, most: usize, grouping: &Grouping) -> Result<usize> {
        let partition = self.division.partition;
        let (groups, rest) = self.division.step(most, grouping)?;
        if let Some(groups) = groups {
            self.write(partition, &groups.into_chunk()?)?;
        }
        Ok(rest)
    }

    fn write(&mut self, partition: usize, groups: &Chunk) -> Result<()> {
        for piece in groups.pieces() {
            let spilled = self.division.file.write(&piece.to_rows()?)?;
            self.into.add_on_disk(partition, piece.groups, spilled);
        }
        Ok(())
    }

    pub(super) fn is_done(&self) -> bool {
        self.division.is_done()
    }

    /// The run on disk, when it is done.
    pub(super) fn into_run(self) -> Arc<Run> {
        Arc::new(self.into)
    }

    /// In bytes, without the runs.
    pub(super) fn size(&self) -> usize {
        self.division.size()
    }
}
