package ingest

import "fmt"

// Reasons for which a payload or a sample is rejected. They are part of the contract.
const (
	badTopic        = "unknown_topic"
	badPayload      = "malformed" // not strict JSON of the known form
	tooLarge        = "too_large" // over Config.MaxPayload or maxSamples
	unknownGateway  = "unknown_gateway"
	unknownSensor   = "unknown_sensor"
	notOwner        = "not_owner" // another gateway's topic or sensor
	inactive        = "inactive"  // the gateway or sensor is not in use
	badValue        = "invalid_value"
	badTimestamp    = "invalid_timestamp"
	badQuality      = "invalid_quality"
	badSensor       = "invalid_sensor"
	futureTimestamp = "future_timestamp"
	tooOld          = "too_old"
	expired         = "expired"          // its message expiry interval ended before it was stored
	conflict        = "conflict"         // another value is stored for this instant
	databaseRefused = "database_refused" // the database refuses every attempt
	alarmOverload   = "alarm_overload"   // its alarms take too many evaluations
)

// Reasons of the broker, for Message.Rejection.
const (
	ReasonTooLarge       = tooLarge
	ReasonUnsupportedQoS = "unsupported_qos"
)

// rejection is why a sample is not stored.
type rejection struct{ reason, detail string }

func newRejection(reason, format string, args ...any) *rejection {
	return &rejection{reason, fmt.Sprintf(format, args...)}
}

var (
	conflicting    = &rejection{conflict, "another value is stored for this instant"}
	noSuchSensor   = &rejection{unknownSensor, "the sensor is not registered"}
	systemSensor   = &rejection{notOwner, "the sensor is a system sensor"}
	sensorInactive = &rejection{inactive, "the sensor or its gateway is not in use"}
	byDatabase     = &rejection{databaseRefused, "the database refuses it"}

	overloadedSensor = newRejection(alarmOverload,
		"the alarms of its sensor cannot be evaluated in time: delete some of them")
	overloadedMessage = newRejection(alarmOverload,
		"a message may take %d alarm evaluations: send fewer readings in one, or delete alarms",
		maxEvaluations)
)

// Reason codes of a PUBACK, MQTT v5 section 3.4.2.1.
const (
	codeNotAcceptable  = 0x83 // implementation specific error: valid, but not stored
	codeNotAuthorized  = 0x87
	codePayloadInvalid = 0x99
)

func reasonCode(reason string) byte {
	switch reason {
	case unknownGateway, notOwner, inactive:
		return codeNotAuthorized
	case badPayload, tooLarge, badValue, badTimestamp, badQuality, badSensor:
		return codePayloadInvalid
	}
	return codeNotAcceptable
}
