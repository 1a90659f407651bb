package ingest

import "strings"

// Kind is what a topic carries.
type Kind int

// The kinds of topics.
const (
	None         Kind = iota // not a topic of the pipeline
	SensorData               // sensors/{gateway}/{sensor}/data
	GatewayData              // gateways/{gateway}/data
	StatusReport             // gateways/{gateway}/status
)

// Filters are topic filters for everything that Submit understands.
var Filters = []string{"sensors/+/+/data", "gateways/+/data", "gateways/+/status"}

// Topic is a parsed topic. Gateway and Sensor are ids or keys, as the publisher wrote them.
type Topic struct {
	Kind            Kind
	Gateway, Sensor string
}

// ParseTopic parses a topic name. Its Kind is None for any other topic.
func ParseTopic(name string) Topic {
	first, rest, _ := strings.Cut(name, "/")
	gateway, rest, _ := strings.Cut(rest, "/")
	if !IsKey(gateway) {
		return Topic{}
	}
	switch first {
	case "sensors":
		if sensor, last, _ := strings.Cut(rest, "/"); last == "data" && IsKey(sensor) {
			return Topic{Kind: SensorData, Gateway: gateway, Sensor: sensor}
		}
	case "gateways":
		switch rest {
		case "data":
			return Topic{Kind: GatewayData, Gateway: gateway}
		case "status":
			return Topic{Kind: StatusReport, Gateway: gateway}
		}
	}
	return Topic{}
}

// IsKey reports whether s can be the key or the id of a gateway or sensor.
func IsKey(s string) bool {
	if s == "" || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && c != '_' &&
			c != '.' && c != ':' && c != '-' {
			return false
		}
	}
	return true
}
