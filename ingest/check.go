package ingest

import (
	"fmt"
	"math"
	"time"

	"github.com/oei-ms/oei-ms/internal/readingjson"
	"github.com/oei-ms/oei-ms/internal/rfc3339"
	"github.com/oei-ms/oei-ms/store"
)

// engineeringUnitsExceeded is OPC UA's UncertainEngineeringUnitsExceeded: a value outside its
// sensor's measuring range.
const engineeringUnitsExceeded = 0x40940000

// checkStatus rejects a status for an unknown gateway, for another gateway than the publisher, and
// with an invalid timestamp.
func (e *entry) checkStatus(cfg Config) {
	at := e.status.timestamp
	switch {
	case e.gateway == nil:
		e.reject(unknownGateway, "there is no gateway %q", e.topic.Gateway)
	case e.gateway.IsSystem:
		e.reject(notOwner, "gateway %q is the server's own", e.gateway.GatewayKey)
	case e.isForeign(e.gateway):
		why := e.foreignRejection(e.gateway)
		e.reject(why.reason, "%s", why.detail)
	case at.IsZero():
	case readingjson.SecondsHint(at) != "" || e.hasCurrentTimestamp() &&
		at.Before(e.message.Received.Add(-cfg.MaxAge)):
		e.reject(tooOld, "timestamp %s is more than %s old, which is OEI_INGEST_MAX_AGE%s",
			rfc3339.Format(at), formatSpan(cfg.MaxAge), readingjson.SecondsHint(at))
	case at.After(e.message.Received.Add(cfg.MaxAge)): // not a clock that runs ahead
		e.reject(futureTimestamp, "timestamp %s is %s ahead", rfc3339.Format(at),
			formatSpan(at.Sub(e.message.Received)))
	}
}

// hasCurrentTimestamp reports whether the timestamp of a status is from when it was published. A
// will has the timestamp of the connection, and "offline" from an external broker may be a will.
func (e *entry) hasCurrentTimestamp() bool {
	return e.status.state == online && !e.message.Will && !e.message.Retained
}

// reading returns the reading to store for s, or false when s is rejected.
func (e *entry) reading(s *sample, cfg Config) (store.Reading, bool) {
	now := e.message.Received
	if s.timestamp.IsZero() {
		s.timestamp = now.UTC().Truncate(time.Microsecond)
	}
	if why := e.check(s, now, cfg); why != nil {
		s.reject(why)
		return store.Reading{}, false
	}
	r := store.Reading{
		SensorID:   s.info.SensorID,
		GatewayID:  s.info.GatewayID,
		SensorType: s.info.Type,
		Timestamp:  s.timestamp,
		Received:   now,
		Value:      s.value,
		Quality:    s.quality,
		StatusCode: s.statusCode,
	}
	s.rejection = nil
	if r.Quality == store.Good && isOutside(s.info, r.Value) {
		r.Quality, r.StatusCode = store.Uncertain, engineeringUnitsExceeded
	}
	return r, true
}

// check returns why s is not to be stored, or nil.
func (e *entry) check(s *sample, now time.Time, cfg Config) *rejection {
	switch p := s.info; {
	case p == nil && e.byHTTP:
		return noSuchSensor
	case p == nil:
		return newRejection(unknownGateway, "there is no gateway %q", e.topic.Gateway)
	case e.isForeign(p):
		return e.foreignRejection(p)
	case s.invalid != nil:
		return s.invalid
	case p.SensorID == 0:
		return newRejection(unknownSensor, "gateway %q has no sensor %q", p.GatewayKey, s.sensor)
	case p.OwnerID != p.GatewayID:
		return newRejection(notOwner, "sensor %s is another gateway's", s.sensor)
	case p.IsSystem:
		return systemSensor
	case !p.IsActive:
		return sensorInactive
	case s.timestamp.After(now.Add(cfg.MaxAhead)):
		return newRejection(futureTimestamp, "timestamp %s is %s ahead",
			rfc3339.Format(s.timestamp), formatSpan(s.timestamp.Sub(now)))
	case s.timestamp.Before(now.Add(-cfg.MaxAge)):
		return newRejection(tooOld,
			"timestamp %s is more than %s old, which is OEI_INGEST_MAX_AGE%s",
			rfc3339.Format(s.timestamp), formatSpan(cfg.MaxAge),
			readingjson.SecondsHint(s.timestamp))
	case p.Retention > 0 && s.timestamp.Before(now.Add(-p.Retention)):
		return newRejection(tooOld,
			"timestamp %s is more than %s old, for which this sensor's readings are kept by its "+
				"retention_days or by OEI_STORE_RETENTION%s",
			rfc3339.Format(s.timestamp), formatSpan(p.Retention),
			readingjson.SecondsHint(s.timestamp))
	}
	return nil
}

// foreignRejection returns the rejection of a message for another gateway than its publisher. Both
// have the same key when the publisher has lost it to the other one since its login.
func (e *entry) foreignRejection(p *store.SensorInfo) *rejection {
	if e.message.Gateway == p.GatewayKey {
		return newRejection(notOwner,
			"key %q belongs to another gateway since the login of the publisher",
			p.GatewayKey)
	}
	return newRejection(notOwner, "%q published for gateway %q", e.message.Gateway, p.GatewayKey)
}

// isOutside reports whether v is outside the sensor's measuring range.
func isOutside(p *store.SensorInfo, v float64) bool {
	return p.MinValue != nil && v < *p.MinValue || p.MaxValue != nil && v > *p.MaxValue
}

// formatSpan formats d for people: from two days on in days. The longest time.Duration stands for
// anything longer.
func formatSpan(d time.Duration) string {
	switch day := 24 * time.Hour; {
	case d == math.MaxInt64:
		return "more than 292 years"
	case d >= 2*day:
		return fmt.Sprintf("%d days", d/day)
	}
	return d.Round(time.Second).String()
}
