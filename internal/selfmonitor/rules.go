package selfmonitor

import (
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// The system sensors. The key of a sensor that is about a gateway ends in the gateway's id, which
// stays when its key is changed.
var (
	faultedSensor = store.Sensor{
		Key:  "faulted-alarms",
		Name: "Alarms that cannot be evaluated",
		Type: "count",
		Unit: "1",
	}
	lagSensor = store.Sensor{
		Key:  "ingest-lag",
		Name: "Age of the oldest message that is not stored",
		Type: "duration",
		Unit: "s",
	}
	diskSensor = store.Sensor{
		Key:  "disk-free",
		Name: "Free space on the disk of the database",
		Type: "ratio",
		Unit: "%",
	}
)

func offlineSensor(g store.GatewayCondition) store.Sensor {
	return about(g, "offline", "Offline (1) or not (0)", "state", "1")
}

func skewSensor(g store.GatewayCondition) store.Sensor {
	return about(g, "clock-skew", "Clock ahead of the server's", "duration", "s")
}

// rejectionsSensor is one sensor of the gateway oei-ms for all gateways that are not registered.
func rejectionsSensor(g store.GatewayCondition) store.Sensor {
	if g.IsSystem {
		return store.Sensor{
			Key:  "rejections",
			Name: "Rejections of gateways that are not registered",
			Type: "rate",
			Unit: "/min",
		}
	}
	return about(g, "rejections", "Rejections", "rate", "/min")
}

func about(g store.GatewayCondition, key, name, kind, unit string) store.Sensor {
	return store.Sensor{
		Key:            fmt.Sprintf("%s.%d", key, g.ID),
		Name:           g.Key + ": " + name,
		Type:           kind,
		Unit:           unit,
		AboutGatewayID: &g.ID,
	}
}

// systemLabel marks the alarms of system sensors, and says what each is about.
const systemLabel = "system"

func faultedRule() alarm.Rule {
	return alarm.Rule{
		Name: "Alarms cannot be evaluated", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits:  &alarm.Limits{High: &alarm.Limit{Value: 0.5}},
		Labels:  map[string]string{systemLabel: "faulted_alarms"},
		Message: "Alarms that cannot be evaluated: {value}",
		RecommendedAction: "GET /api/alarms/events?kind=faulted lists them with the reason. " +
			"Correct their rules.",
	}
}

func lagRule(limit time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Readings are stored late", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: limit.Seconds()}},
		Deadband: &alarm.Deadband{Value: limit.Seconds() / 2},
		Labels:   map[string]string{systemLabel: "ingest_lag"},
		Message:  "The oldest message has waited {value} s to be stored",
		RecommendedAction: "Check the database's disk, locks and processors, and " +
			"oei_ingest_split_total, which rises when a sensor has too many alarms. " +
			"Nothing is lost: gateways wait.",
	}
}

func diskRule(percent float64) alarm.Rule {
	return alarm.Rule{
		Name: "Disk is filling up", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits: &alarm.Limits{
			Low:    &alarm.Limit{Value: percent},
			LowLow: &alarm.Limit{Value: percent / 3, Severity: alarm.Critical},
		},
		Deadband: &alarm.Deadband{Value: percent / 10},
		Labels:   map[string]string{systemLabel: "disk_free"},
		Message:  "{value} % of the disk is free",
		RecommendedAction: "Free space or use a larger disk. When it is full, nothing is " +
			"acknowledged and gateways keep their readings.",
	}
}

func offlineRule(g store.GatewayCondition, after time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Gateway is offline: " + g.Key, Kind: alarm.Threshold, Severity: alarm.Major,
		Limits: &alarm.Limits{High: &alarm.Limit{Value: 0.5}},
		// a gateway that reconnects often raises one alarm
		OnDelay: alarm.Duration(after), OffDelay: alarm.Duration(min(after, time.Minute)),
		Labels:  map[string]string{systemLabel: "gateway_offline", "gateway": g.Key},
		Message: "{gateway} is offline",
		RecommendedAction: "Check its power and its network. A gateway that is not in use " +
			"(is_active false) raises no alarm.",
	}
}

func skewRule(g store.GatewayCondition, limit time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Clock is wrong: " + g.Key, Kind: alarm.OutsideRange, Severity: alarm.Minor,
		Range:             &alarm.Range{Low: -limit.Seconds(), High: limit.Seconds()},
		Deadband:          &alarm.Deadband{Value: limit.Seconds() / 5},
		Labels:            map[string]string{systemLabel: "clock_skew", "gateway": g.Key},
		Message:           "The clock of {gateway} is {value} s ahead",
		RecommendedAction: "Set its clock, best by NTP. Readings far in the future are rejected.",
	}
}

func rejectionsRule(g store.GatewayCondition, limit float64) alarm.Rule {
	r := alarm.Rule{
		Name: "Many rejections: " + g.Key, Kind: alarm.Threshold, Severity: alarm.Minor,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: limit}},
		Deadband: &alarm.Deadband{Value: limit / 2},
		OnDelay:  alarm.Duration(time.Minute), OffDelay: alarm.Duration(time.Minute),
		Labels: map[string]string{systemLabel: "rejections", "gateway": g.Key},
		Message: "More than {limit} messages or samples of {gateway} are rejected per " +
			"minute",
		RecommendedAction: "GET /api/data/rejections lists them with the reasons.",
	}
	if g.IsSystem {
		r.Name = "Many rejections of gateways that are not registered"
		r.Message = "More than {limit} messages or samples of gateways that are not registered " +
			"are rejected per minute"
		delete(r.Labels, "gateway")
	}
	return r
}
