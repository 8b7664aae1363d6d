-- Alarms are kept apart from other refusals, of which a flood would wash them away.
CREATE INDEX refusals_by_kind ON refusals (alarm, id);
