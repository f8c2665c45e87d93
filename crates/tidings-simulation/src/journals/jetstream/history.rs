//! Reads the journal's past: updates by position, id and time, from memory or from the stream.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::MutexGuard;
use tidings_core::journal::same_id::SameId;
use tidings_core::journal::{Batch, Before, Found, LossNumber, Missed, ReadError};
use tidings_core::model::{HubId, Position, Record, Rights, Selectors};

use super::connection::{Failure, unreachable, was_reset};
use super::server::StreamReport;
use super::shared::Shared;
use super::state::{Generation, State};

impl Shared {
    /// The notice for a subscriber that missed the updates of losses up to this one.
    pub(super) async fn missed(
        &self,
        after: Position,
        number: LossNumber,
    ) -> Result<Missed, ReadError> {
        let (generation, first, last) = {
            let state = self.state();
            (state.generation(), state.first(), state.last())
        };
        let oldest = match self.record(first).await? {
            Some(record) => record.hub_id(),
            None => last,
        };
        let resume = self.id_at(after.max(first.previous())).await?;
        self.check_still(generation)?;
        Ok(Missed::new(oldest, resume, number))
    }

    /// The hub's id of a position.
    async fn id_at(&self, at: Position) -> Result<HubId, ReadError> {
        let (epoch, first) = {
            let state = self.state();
            (state.epoch(), state.first())
        };
        if at == Position::START {
            return Ok(HubId::start(epoch));
        }
        if at < first {
            return Ok(HubId::of_dropped(epoch, at));
        }
        let record = self.record(at).await?;
        Ok(record.map_or(HubId::of_dropped(epoch, at), |record| record.hub_id()))
    }

    /// The update at a position, from memory or from the stream.
    pub(super) async fn record(&self, at: Position) -> Result<Option<Arc<Record>>, ReadError> {
        let epoch = {
            let state = self.state();
            if let Some(record) = state.at(at) {
                return Ok(Some(Arc::clone(record)));
            }
            state.epoch()
        };
        self.check_there()?;
        let stored = self.connection.ask(|server, _| server.at(at)).await.map_err(unreachable)?;
        Ok(stored.and_then(|stored| stored.decode(epoch)))
    }

    /// Where the update with this id is, for a subscriber with these selectors and rights.
    pub(super) async fn find(
        &self,
        id: &str,
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Option<Found>, ReadError> {
        let Ok(hub_id) = id.parse::<HubId>() else {
            let mut search = SameId::new(id, selectors, rights);
            let rounds = search.rounds(self.state().keys());
            for keys in rounds {
                let positions = self.state().positions(&keys);
                for position in positions {
                    if let Some(record) = self.record(position).await?
                        && search.is(&record)
                    {
                        return Ok(Some(Found::certain(record.hub_id())));
                    }
                }
            }
            return Ok(search.elsewhere());
        };
        let at = hub_id.position;
        let (generation, first) = {
            let state = self.state();
            (state.generation(), state.first())
        };
        let epoch = generation.epoch;
        let found = Found::certain(hub_id);
        if hub_id.epoch != epoch {
            return Ok(None);
        }
        if at == Position::START {
            return Ok((hub_id == HubId::start(epoch)).then_some(found));
        }
        // Where the record is trimmed, the id's check value cannot be compared.
        if at < first {
            return Ok(Some(found));
        }
        if let Some(record) = self.record(at).await? {
            return Ok((record.hub_id() == hub_id).then_some(found));
        }
        // Either the update was deleted, or the stream ends before this position.
        let asked = self.connection.ask(|server, _| server.report()).await;
        let report = asked.map_err(unreachable)?;
        self.check_still(generation)?;
        Ok((report.epoch == epoch && at <= report.last).then_some(found))
    }

    /// The updates that a subscriber gets, from the stream.
    pub(super) async fn read(
        &self,
        (after, until): (Position, Position),
        selectors: &Selectors,
        rights: &Rights,
    ) -> Result<Batch, ReadError> {
        let generation = self.state().generation();
        self.check_there()?;
        let from = after.max(self.state().first().previous());
        let block = self.block(generation, from).await.map_err(unreachable)?;
        let mut reached = block.through;
        if reached <= from && from < until {
            self.find_end(generation, from, until).await?;
            reached = until;
        }
        let ends: Vec<_> = block.holes.iter().copied().filter(|end| *end > from).collect();
        self.note_holes(generation, &ends).await?;
        let (loss, first) = {
            let state = self.state_of(generation)?;
            (state.missed(after, selectors, rights), state.first())
        };
        let begin = block.records.partition_point(|record| record.position <= after);
        let records = block.records[begin..].iter().filter(|one| one.position >= first);
        let max = self.options.batch;
        let mut batch = Batch::for_subscriber(records, until.min(reached), max, selectors, rights);
        if let Some(loss) = loss {
            let missed = self.missed(after, loss.number).await?;
            batch.through = batch.through.max(missed.resume.position);
            batch.missed = Some(missed);
        }
        Ok(batch)
    }

    /// The server has none of the wanted updates: either they were deleted, or the server lags
    /// behind.
    pub(super) async fn find_end(
        &self,
        generation: Generation,
        from: Position,
        until: Position,
    ) -> Result<(), ReadError> {
        let asked = self.connection.ask(|server, _| server.report()).await;
        let report = asked.map_err(unreachable)?;
        if self.note(generation, &report)?.first() > until {
            return Ok(());
        }
        let next = self.connection.ask(|server, _| server.next(from)).await.map_err(unreachable)?;
        match next {
            Some(next) if next.position <= until => {
                Err(unreachable(Failure::temporary("a server lags behind")))
            }
            _ => {
                self.state_of(generation)?.lose(until);
                Ok(())
            }
        }
    }

    /// Takes over a report that was asked for in this generation. It may be of the stream before or
    /// after a reset.
    fn note(
        &self,
        generation: Generation,
        report: &StreamReport,
    ) -> Result<MutexGuard<'_, State>, ReadError> {
        let mut state = self.state_of(generation)?;
        if state.note(report) { Ok(state) } else { Err(was_reset()) }
    }

    /// Updates are missing between two others, up to each of these ends. Unless retention trimmed
    /// them, their topics are unknown.
    async fn note_holes(&self, generation: Generation, ends: &[Position]) -> Result<(), ReadError> {
        if ends.iter().all(|end| self.state().knows_loss(*end)) {
            return Ok(());
        }
        let asked = self.connection.ask(|server, _| server.report()).await;
        let report = asked.map_err(unreachable)?;
        let mut state = self.note(generation, &report)?;
        for end in ends {
            if *end >= state.first() {
                state.lose(*end);
            }
        }
        Ok(())
    }

    /// The place after all updates that are older than `time`.
    pub(super) async fn before(&self, time: SystemTime) -> Result<Before, ReadError> {
        let (generation, mut first, last, older, newer) = {
            let state = self.state();
            let (older, newer) = state.around(time);
            (state.generation(), state.first(), state.last().position, older, newer)
        };
        let since = match older {
            Some(_) => newer.unwrap_or(last.next()),
            None => {
                self.check_there()?;
                let asked = self.connection.ask(|server, _| server.since(time)).await;
                let stored = asked.map_err(unreachable)?;
                let asked = self.connection.ask(|server, _| server.report()).await;
                let report = asked.map_err(unreachable)?;
                first = self.note(generation, &report)?.first();
                stored.map_or(last.next(), |stored| stored.position)
            }
        };
        let through = since.previous();
        // Lost updates were older than `time` only where an older message follows them.
        let lost_before = match older {
            Some(older) => older,
            None if through < first => Position::START,
            None => {
                let stored = self
                    .connection
                    .ask(|server, _| server.at(through))
                    .await
                    .map_err(unreachable)?;
                if stored.is_some() { through } else { Position::START }
            }
        };
        let place = self.id_at(through).await?;
        self.check_still(generation)?;
        Ok(Before::new(place, lost_before))
    }
}
