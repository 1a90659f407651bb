package selfmonitor

import (
	"fmt"
	"time"

	"github.com/oei-ms/oei-ms/alarm"
	"github.com/oei-ms/oei-ms/store"
)

// The server's own sensors. Keys of those that are about a gateway end in its id, which stays when
// its key is changed.
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
		Name: "Free space where the database is",
		Type: "ratio",
		Unit: "%",
	}
)

func offlineSensor(g store.GatewayCondition) store.Sensor {
	return about(g, "offline", "Offline (1) or not (0)", "state", "1")
}

func skewSensor(g store.GatewayCondition) store.Sensor {
	return about(g, "clock-skew", "Clock ahead of ours", "duration", "s")
}

// refusedSensor is one of the server's own gateway for those that are not registered.
func refusedSensor(g store.GatewayCondition) store.Sensor {
	if g.IsSystem {
		return store.Sensor{
			Key:  "refused",
			Name: "Refused, of gateways that are not registered",
			Type: "rate",
			Unit: "/min",
		}
	}
	return about(g, "refused", "Refused", "rate", "/min")
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

// system is the label that tells alarms of the server's own, and which it is.
const system = "system"

func faultedRule() alarm.Rule {
	return alarm.Rule{
		Name: "Alarms cannot be evaluated", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits:            &alarm.Limits{High: &alarm.Limit{Value: 0.5}},
		Labels:            map[string]string{system: "faulted_alarms"},
		Message:           "Alarms that cannot be evaluated: {value}",
		RecommendedAction: "GET /api/alarms/events?kind=faulted names them, and why. Correct their rules.",
	}
}

func lagRule(limit time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Readings are stored late", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: limit.Seconds()}},
		Deadband: &alarm.Deadband{Value: limit.Seconds() / 2},
		Labels:   map[string]string{system: "ingest_lag"},
		Message:  "The oldest message has waited {value} s to be stored",
		RecommendedAction: "Look at the database: its disk, its locks, its processors; and at oei_ingest_split_total, which rises when a sensor has too " +
			"many alarms. Nothing is lost; gateways wait.",
	}
}

func diskRule(percent float64) alarm.Rule {
	return alarm.Rule{
		Name: "Disk is filling up", Kind: alarm.Threshold, Severity: alarm.Major,
		Limits: &alarm.Limits{
			Low:    &alarm.Limit{Value: percent},
			LowLow: &alarm.Limit{Value: percent / 3, Severity: alarm.Critical},
		},
		Deadband:          &alarm.Deadband{Value: percent / 10},
		Labels:            map[string]string{system: "disk_free"},
		Message:           "{value} % of the disk is free",
		RecommendedAction: "Make room or take a larger disk. When it is full nothing is acknowledged any more, and gateways keep what they have.",
	}
}

func offlineRule(g store.GatewayCondition, after time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Gateway is offline: " + g.Key, Kind: alarm.Threshold, Severity: alarm.Major,
		Limits: &alarm.Limits{High: &alarm.Limit{Value: 0.5}},
		// one that comes and goes is one alarm
		OnDelay: alarm.Duration(after), OffDelay: alarm.Duration(min(after, time.Minute)),
		Labels:            map[string]string{system: "gateway_offline", "gateway": g.Key},
		Message:           "{gateway} is offline",
		RecommendedAction: "Look at its power and its network. While it is taken out of use (is_active false) it may be missing.",
	}
}

func skewRule(g store.GatewayCondition, limit time.Duration) alarm.Rule {
	return alarm.Rule{
		Name: "Clock is wrong: " + g.Key, Kind: alarm.OutsideRange, Severity: alarm.Minor,
		Range:             &alarm.Range{Low: -limit.Seconds(), High: limit.Seconds()},
		Deadband:          &alarm.Deadband{Value: limit.Seconds() / 5},
		Labels:            map[string]string{system: "clock_skew", "gateway": g.Key},
		Message:           "The clock of {gateway} is {value} s ahead",
		RecommendedAction: "Set its clock, best by NTP. Readings of the far future are refused.",
	}
}

func refusedRule(g store.GatewayCondition, limit float64) alarm.Rule {
	r := alarm.Rule{
		Name: "Much is refused: " + g.Key, Kind: alarm.Threshold, Severity: alarm.Minor,
		Limits:   &alarm.Limits{High: &alarm.Limit{Value: limit}},
		Deadband: &alarm.Deadband{Value: limit / 2},
		OnDelay:  alarm.Duration(time.Minute), OffDelay: alarm.Duration(time.Minute),
		Labels:            map[string]string{system: "refusals", "gateway": g.Key},
		Message:           "More than {limit} messages or samples of {gateway} a minute are refused",
		RecommendedAction: "GET /api/data/rejections says what and why.",
	}
	if g.IsSystem {
		r.Name, r.Message = "Much is refused of gateways that are not registered", "More than {limit} messages or samples of gateways that are not registered are refused a minute"
		delete(r.Labels, "gateway")
	}
	return r
}
