DROP TABLE alarm_log, alarm_events, alarm_states, alarm_inputs, alarms;
DROP FUNCTION notify_alarms();
