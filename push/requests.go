package push

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"
)

const (
	askWithin    = 5 * time.Second // for Authenticate and Allow to answer
	maxBadFrames = 20              // of one connection
)

// handle does what one message of the client asks for.
func (c *conn) handle(body []byte) {
	req, h, err := parseRequest(body)
	if err != nil {
		c.badFrames++
		c.refuse(h.ID, codeBadMessage, err.Error(), nil)
		if c.badFrames >= maxBadFrames {
			c.end(CloseProtocol, "too many bad messages")
		}
		return
	}
	switch req := req.(type) {
	case *authRequest:
		c.authenticate(req)
	case *subscribeRequest:
		c.subscribe(req)
	case *unsubscribeRequest:
		c.unsubscribe(req)
	}
}

// authenticate answers the first token, and those that renew it.
func (c *conn) authenticate(req *authRequest) {
	ctx, cancel := context.WithTimeout(c.hub.ctx, askWithin)
	defer cancel()
	id, err := c.hub.deps.Auth.Authenticate(ctx, req.Token)
	if err == nil && !time.Now().Before(id.Expires) {
		err = ErrNotAuthenticated
	}
	before := c.identity.Load()
	switch {
	case err == nil && before == nil:
		c.welcome(req.ID, id, false)
	case err == nil && before.UserID != id.UserID:
		c.refuse(req.ID, codeForbidden, "a connection keeps its user; open another one", nil)
	case err == nil:
		c.identity.Store(&id)
		c.answer(authenticatedFrame{
			Type:      "authenticated",
			ID:        req.ID,
			UserID:    id.UserID,
			ExpiresAt: formatTime(id.Expires),
		})
	case errors.Is(err, ErrNotAuthenticated) && before != nil:
		c.refuse(req.ID, codeNotAuthenticated, "the token is not valid; the one before it stands",
			nil)
	case errors.Is(err, ErrNotAuthenticated):
		c.end(CloseNotAuthenticated, "the token is not valid")
	case errors.Is(err, ErrForbidden):
		c.end(CloseForbidden, "the user may not listen")
	case !c.hasEnded():
		c.hub.log.WarnContext(ctx, "authenticate a live connection", "error", err)
		c.end(CloseTryLater, "the token could not be checked")
	}
}

// welcome gives the connection its user and its preset topics, which have been allowed already or
// have to be now.
func (c *conn) welcome(reqID string, id Identity, allowed bool) {
	if !c.hub.enroll(c, &id) {
		c.end(CloseOverLimit, "too many connections of this user")
		return
	}
	c.answer(authenticatedFrame{
		Type:      "authenticated",
		ID:        reqID,
		UserID:    id.UserID,
		ExpiresAt: formatTime(id.Expires),
	})
	if len(c.preset) == 0 {
		return
	}
	wanted := c.hub.sift(c.preset)
	if !allowed && !c.allow(id, &wanted) {
		return
	}
	if len(wanted.unknown)+len(wanted.forbidden) > 0 {
		c.end(CloseForbidden, "the topics of this connection are not allowed")
		return
	}
	c.listen(new(subscribeRequest), wanted)
}

func (c *conn) subscribe(req *subscribeRequest) {
	id := c.identity.Load()
	if id == nil {
		c.refuse(req.ID, codeNotAuthenticated, "send an auth frame first", req.Topics)
		return
	}
	wanted := c.hub.sift(req.Topics)
	if !c.allow(*id, &wanted) {
		return
	}
	if req.Batch != nil {
		c.batch.Store(*req.Batch)
	}
	c.listen(req, wanted)
}

// listen subscribes to what was allowed and answers for every topic. Nothing of a topic leaves
// before the answer that names it and its snapshot: the connection listens first and looks then, so
// that nothing is missed between them.
func (c *conn) listen(req *subscribeRequest, w wanted) {
	c.lane.hold()
	taken, over := c.hub.subscribe(c, w.topics, req.pace())
	var unavailable []Topic
	if len(taken) > 0 {
		unavailable = c.begin(req, taken)
	}
	c.lane.release()
	if len(unavailable) > 0 {
		c.refuse(req.ID, codeUnavailable, "it cannot be had just now; subscribe again later",
			names(unavailable))
	}
	if len(over) > 0 {
		c.refuse(req.ID, codeTooManyTopics,
			fmt.Sprintf("a connection may have %d topics", c.hub.cfg.MaxTopics), names(over))
	}
	if len(w.unknown) > 0 {
		c.refuse(req.ID, codeUnknownTopic, "there is no such topic", w.unknown)
	}
	if len(w.forbidden) > 0 {
		c.refuse(req.ID, codeForbidden, "the user may not listen to this", w.forbidden)
	}
}

// begin answers for topics that are listened to now, with what they begin with, and returns those
// that have to be given up.
func (c *conn) begin(req *subscribeRequest, taken []Topic) (unavailable []Topic) {
	var alarms, readings []Topic
	for _, t := range taken {
		switch t.Kind {
		case Alarms:
			alarms = append(alarms, t)
		case Sensors, Gateways, SensorTypes:
			readings = append(readings, t)
		}
	}
	var first []any
	if len(alarms) > 0 {
		c.hub.mu.RLock()
		mask := c.severities()
		c.hub.mu.RUnlock()
		var err error
		if first, err = c.join(mask, req, names(alarms)); err != nil {
			unavailable = c.giveUp(alarms, err)
			taken = slices.DeleteFunc(slices.Clone(taken),
				func(t Topic) bool { return t.Kind == Alarms })
			alarms = nil
		}
	}
	answer := topicsFrame{Type: "subscribed", ID: req.ID, Topics: names(taken)}
	if len(alarms) > 0 {
		epoch, cursor, _ := c.lane.position()
		answer.Epoch, answer.Offset = epoch, &cursor
		if now, last, _ := c.hub.tail.position(); now == epoch { // else the writer finds out
			c.lane.learn(last)
		}
	}
	if len(taken) > 0 {
		c.answer(answer)
	}
	for _, frame := range first {
		c.answer(frame)
	}
	if req.Snapshot && len(readings) > 0 && c.hub.deps.Latest != nil {
		if err := c.tellLatest(req.ID, readings); err != nil {
			unavailable = append(unavailable, c.giveUp(readings, err)...)
		}
	}
	return unavailable
}

// giveUp ends the subscription to topics that could not begin as they have to.
func (c *conn) giveUp(topics []Topic, err error) []Topic {
	if !c.hasEnded() {
		c.hub.log.WarnContext(c.hub.ctx, "begin topics of a live connection", "error", err)
	}
	c.lane.narrow(c.hub.unsubscribe(c, topics))
	return topics
}

// unsubscribe answers with every topic that is not listened to any more, whether it was before or
// not. Updates that were under way may still follow.
func (c *conn) unsubscribe(req *unsubscribeRequest) {
	w := c.hub.sift(req.Topics)
	c.lane.narrow(c.hub.unsubscribe(c, w.topics))
	if len(w.topics) > 0 {
		c.answer(topicsFrame{Type: "unsubscribed", ID: req.ID, Topics: names(w.topics)})
	}
	if len(w.unknown) > 0 {
		c.refuse(req.ID, codeUnknownTopic, "there is no such topic", w.unknown)
	}
}

// wanted is what a client named, once each, by what becomes of it.
type wanted struct {
	topics             []Topic
	unknown, forbidden []string
}

func (h *Hub) sift(named []string) wanted {
	var w wanted
	seen := make(map[string]bool, len(named))
	for _, name := range named {
		if seen[name] {
			continue
		}
		seen[name] = true
		if t, err := ParseTopic(name); err == nil && (t.Kind != Alarms || h.deps.AlarmLog != nil) {
			w.topics = append(w.topics, t)
		} else {
			w.unknown = append(w.unknown, name)
		}
	}
	return w
}

var errNoVerdict = errors.New("fewer verdicts than topics")

// allow leaves in w.topics those that id may listen to. When that cannot be found out it ends the
// connection and returns false.
func (c *conn) allow(id Identity, w *wanted) bool {
	if len(w.topics) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(c.hub.ctx, askWithin)
	defer cancel()
	asked := w.topics
	verdicts := c.hub.deps.Auth.Allow(ctx, id, names(asked))
	if verdicts == nil {
		return true
	}
	w.topics = nil
	for i, t := range asked {
		err := errNoVerdict
		if i < len(verdicts) {
			err = verdicts[i]
		}
		switch {
		case err == nil:
			w.topics = append(w.topics, t)
		case errors.Is(err, ErrUnknownTopic):
			w.unknown = append(w.unknown, t.String())
		case errors.Is(err, ErrForbidden):
			w.forbidden = append(w.forbidden, t.String())
		default:
			c.hub.log.WarnContext(ctx, "check topics of a live connection", "error", err, "user_id",
				id.UserID)
			c.end(CloseTryLater, "the topics could not be checked")
			return false
		}
	}
	return true
}

func names(topics []Topic) []string {
	out := make([]string, len(topics))
	for i, t := range topics {
		out[i] = t.String()
	}
	return out
}

func (c *conn) refuse(reqID, code, detail string, topics []string) {
	c.answer(errorFrame{Type: "error", ID: reqID, Code: code, Detail: detail, Topics: topics})
}

// answer queues a frame for the client; one that asks on and on without taking the answers is let
// go.
func (c *conn) answer(frame any) {
	if !c.lane.reply(encode(frame)) {
		c.end(CloseTryLater, "answers are not being taken")
	}
}

// encode is for the frames of this package, whose every string came out of valid JSON or is our
// own.
func encode(frame any) []byte {
	b, _ := json.Marshal(frame)
	return b
}
