DROP TABLE rollup_state, late_changes, rollup_due, rollup_marks, rollup_1m, rollup_1h;
