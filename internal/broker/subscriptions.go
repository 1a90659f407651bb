package broker

import (
	"context"
	"slices"
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

// SubscriptionFilters match the topics that a gateway may subscribe to, with its key in place of
// {gateway}.
var SubscriptionFilters = []string{
	"gateways/{gateway}/commands/#",
	"gateways/{gateway}/receipts/#",
	alarmFilter,
}

// alarmFilter matches the topics of alarm events.
const alarmFilter = "alarms/{gateway}/+"

// maySubscribe reports whether topic is one of those sent to the gateway.
func (s *session) maySubscribe(topic string) bool {
	return !strings.ContainsAny(topic, "+#") &&
		slices.ContainsFunc(SubscriptionFilters, func(filter string) bool {
			return s.matches(filter, topic)
		})
}

// isOwnAlarmTopic reports whether topic is alarms/{gateway}/{sensor} of this gateway.
func (s *session) isOwnAlarmTopic(topic string) bool { return s.matches(alarmFilter, topic) }

// matches reports whether topic, which has no wildcards, matches filter for this gateway.
func (s *session) matches(filter, topic string) bool {
	prefix, wildcard := filter[:len(filter)-1], filter[len(filter)-1]
	prefix = strings.Replace(prefix, "{gateway}", s.gateway.Key, 1)
	if wildcard == '#' && topic == strings.TrimSuffix(prefix, "/") {
		return true
	}
	rest, ok := strings.CutPrefix(topic, prefix)
	return ok && (wildcard == '#' || rest != "" && !strings.Contains(rest, "/"))
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
