package ingest

import "strings"

// Kind is what a topic carries.
type Kind int

// The kinds of topics.
const (
	None         Kind = iota // not a topic of ours
	SensorData               // sensors/{gateway}/{sensor}/data
	GatewayData              // gateways/{gateway}/data
	StatusReport             // gateways/{gateway}/status
)

// Filters are the topic filters that take in everything Submit understands.
var Filters = []string{"sensors/+/+/data", "gateways/+/data", "gateways/+/status"}

// Topic is a topic taken apart. Gateway and Sensor are ids or keys, as the publisher wrote them.
type Topic struct {
	Kind            Kind
	Gateway, Sensor string
}

// ParseTopic takes name apart; one that is not ours is None.
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
