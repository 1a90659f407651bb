DROP TABLE ingest_absences, ingest_beat, ingest_lags, system_watch, instances;
