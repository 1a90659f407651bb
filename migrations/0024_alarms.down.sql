DROP TRIGGER alarms_sensor ON sensors;
DROP TABLE alarm_log, alarm_events, alarm_states, alarm_inputs, alarms, alarm_rules;
DROP FUNCTION count_alarm_rules, count_sensor_rules;
