package broker

import (
	"context"
	"strings"

	mqtt "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
)

const (
	// maxSubscriptions is the maximum number of subscriptions of a session.
	maxSubscriptions = 1000
	// maxFilter is the maximum length of a topic filter in bytes.
	maxFilter = 1 << 10
)

// maySubscribe reports whether topic is one of those sent to the gateway.
func (s *session) maySubscribe(topic string) bool {
	return !strings.ContainsAny(topic, "+#") && (s.isOwnTopic(topic, "commands") ||
		s.isOwnTopic(topic, "receipts") || s.isOwnAlarmTopic(topic))
}

// isOwnTopic reports whether topic is gateways/{gateway}/{branch} or below it.
func (s *session) isOwnTopic(topic, branch string) bool {
	rest, ok := strings.CutPrefix(topic, "gateways/"+s.gateway.Key+"/"+branch)
	return ok && (rest == "" || rest[0] == '/')
}

// isOwnAlarmTopic reports whether topic is alarms/{gateway}/{sensor} of this gateway.
func (s *session) isOwnAlarmTopic(topic string) bool {
	sensor, ok := strings.CutPrefix(topic, "alarms/"+s.gateway.Key+"/")
	return ok && sensor != "" && !strings.Contains(sensor, "/")
}

// hasCapacityFor reports whether the session has a subscription to topic or may add one.
func (s *session) hasCapacityFor(topic string) bool {
	subscriptions := s.client.State.Subscriptions
	_, exists := subscriptions.Get(topic)
	return exists || subscriptions.Len() < maxSubscriptions && len(topic) <= maxFilter
}

// checkCredential ends a connection whose credential is no longer valid, or whose gateway has
// another key by now: topics contain keys.
func (b *Broker) checkCredential(cl *mqtt.Client) error {
	s := b.session(cl)
	if s == nil {
		return packets.ErrRejectPacket
	}
	ctx, cancel := context.WithTimeout(b.ctx, b.cfg.ConnectTimeout)
	defer cancel()
	valid, err := b.isCredentialValid(ctx, s)
	switch {
	case err != nil: // the client reconnects and subscribes again
		b.disconnect(cl, packets.Code{Code: codeUnavailable, Reason: databaseAway})
	case !valid:
		b.disconnect(cl, packets.ErrNotAuthorized)
	default:
		return nil
	}
	return packets.ErrRejectPacket
}
