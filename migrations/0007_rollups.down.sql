DROP TABLE rollup_state, rollup_due, rollup_marks, rollup_1m, rollup_1h;
