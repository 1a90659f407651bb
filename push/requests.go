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
	queryTimeout = 5 * time.Second // for Auth, Latest and the alarm log
	maxBadFrames = 20              // of one connection
)

// handle handles one message of the client.
func (c *conn) handle(body []byte) {
	req, h, err := parseRequest(body)
	if err != nil {
		c.badFrames++
		c.sendError(h.ID, codeBadMessage, err.Error(), nil)
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

// authenticate handles the first token, and tokens that renew it.
func (c *conn) authenticate(req *authRequest) {
	ctx, cancel := context.WithTimeout(c.hub.ctx, queryTimeout)
	defer cancel()
	id, err := c.hub.deps.Auth.Authenticate(ctx, c.addr, req.Token)
	if err == nil && id.hasExpired(time.Now()) {
		err = ErrNotAuthenticated
	}
	before := c.identity.Load()
	switch {
	case err == nil && before == nil:
		c.accept(req.ID, id, false)
	case err == nil && before.owner() != id.owner():
		c.sendError(req.ID, codeForbidden, "a connection keeps its user; open another one", nil)
	case err == nil:
		c.identity.Store(&id)
		c.sendAuthenticated(req.ID, id)
	case errors.Is(err, ErrNotAuthenticated) && before != nil:
		c.sendError(req.ID, codeNotAuthenticated,
			"the token is not valid; the one before it stands", nil)
	case errors.Is(err, ErrNotAuthenticated):
		c.end(CloseNotAuthenticated, "the token is not valid")
	case errors.Is(err, ErrForbidden):
		c.end(CloseForbidden, "the user may not listen")
	case errors.Is(err, ErrOverLimit):
		c.end(CloseTryLater, "too many logins; try later")
	case !c.hasEnded():
		c.hub.log.WarnContext(ctx, "authenticating live connection failed", "error", err)
		c.end(CloseTryLater, "the token could not be checked")
	}
}

// accept gives the connection its user and its initial topics. allowed says that the caller of
// Serve has allowed the topics.
func (c *conn) accept(reqID string, id Identity, allowed bool) {
	if !c.hub.setIdentity(c, &id) {
		c.end(CloseOverLimit, "too many connections of this user or API key")
		return
	}
	c.sendAuthenticated(reqID, id)
	if len(c.initialTopics) == 0 {
		return
	}
	req := c.hub.parseTopics(c.initialTopics)
	if !allowed && !c.allow(id, &req) {
		return
	}
	if len(req.unknown)+len(req.forbidden) > 0 {
		c.end(CloseForbidden, "the topics of this connection are not allowed")
		return
	}
	c.addTopics(new(subscribeRequest), req)
}

func (c *conn) subscribe(req *subscribeRequest) {
	id := c.identity.Load()
	if id == nil {
		c.sendError(req.ID, codeNotAuthenticated, "send an auth frame first", req.Topics)
		return
	}
	topics := c.hub.parseTopics(req.Topics)
	if !c.allow(*id, &topics) {
		return
	}
	if req.Batch != nil {
		c.batchReadings.Store(*req.Batch)
	}
	c.addTopics(req, topics)
}

// addTopics subscribes to allowed topics and answers for every requested topic. No update of a
// topic leaves before the answer that names it and its snapshot: the connection subscribes first
// and reads the snapshot then, so that nothing is missed in between.
func (c *conn) addTopics(req *subscribeRequest, requested topicRequest) {
	c.outbox.hold()
	subscribed, overLimit := c.hub.subscribe(c, requested.topics, req.interval())
	var unavailable []Topic
	if len(subscribed) > 0 {
		unavailable = c.startTopics(req, subscribed)
	}
	c.outbox.release()
	if len(unavailable) > 0 {
		c.sendError(req.ID, codeUnavailable, "not available just now; subscribe again later",
			names(unavailable))
	}
	if len(overLimit) > 0 {
		c.sendError(req.ID, codeTooManyTopics,
			fmt.Sprintf("a connection may have %d topics", c.hub.cfg.MaxTopics), names(overLimit))
	}
	if len(requested.unknown) > 0 {
		c.sendError(req.ID, codeUnknownTopic, "the topic does not exist", requested.unknown)
	}
	if len(requested.forbidden) > 0 {
		c.sendError(req.ID, codeForbidden, "the user may not listen to this", requested.forbidden)
	}
}

// startTopics answers the subscription to topics and sends their snapshots. It returns the topics
// that are not available.
func (c *conn) startTopics(req *subscribeRequest, topics []Topic) (unavailable []Topic) {
	var alarms, readings []Topic
	for _, t := range topics {
		switch t.Kind {
		case Alarms:
			alarms = append(alarms, t)
		case Sensors, Gateways, SensorTypes:
			readings = append(readings, t)
		}
	}
	var alarmFrames []any
	if len(alarms) > 0 {
		c.hub.mu.RLock()
		severities := c.severities()
		c.hub.mu.RUnlock()
		var err error
		if alarmFrames, err = c.startAlarms(severities, req, names(alarms)); err != nil {
			unavailable = c.dropTopics(alarms, err)
			topics = slices.DeleteFunc(slices.Clone(topics),
				func(t Topic) bool { return t.Kind == Alarms })
			alarms = nil
		}
	}
	answer := topicsFrame{Type: "subscribed", ID: req.ID, Topics: names(topics)}
	if len(alarms) > 0 {
		epoch, cursor, _ := c.outbox.alarmPosition()
		answer.Epoch, answer.Offset = epoch, &cursor
		if now, last, _ := c.hub.alarms.position(); now == epoch { // else the writer finds the gap
			c.outbox.alarmsKnown(last)
		}
	}
	if len(topics) > 0 {
		c.send(answer)
	}
	for _, frame := range alarmFrames {
		c.send(frame)
	}
	if req.Snapshot && len(readings) > 0 && c.hub.deps.Latest != nil {
		if err := c.addLatest(req.ID, readings); err != nil {
			unavailable = append(unavailable, c.dropTopics(readings, err)...)
		}
	}
	return unavailable
}

// dropTopics ends the subscription to topics that are not available.
func (c *conn) dropTopics(topics []Topic, err error) []Topic {
	if !c.hasEnded() {
		c.hub.log.WarnContext(c.hub.ctx, "starting topics failed", "error", err)
	}
	c.outbox.filterAlarms(c.hub.unsubscribe(c, topics))
	return topics
}

// unsubscribe answers with every topic that the connection is not subscribed to any more, whether
// it was before or not. Updates that were under way may still follow.
func (c *conn) unsubscribe(req *unsubscribeRequest) {
	requested := c.hub.parseTopics(req.Topics)
	c.outbox.filterAlarms(c.hub.unsubscribe(c, requested.topics))
	if len(requested.topics) > 0 {
		c.send(topicsFrame{Type: "unsubscribed", ID: req.ID, Topics: names(requested.topics)})
	}
	if len(requested.unknown) > 0 {
		c.sendError(req.ID, codeUnknownTopic, "the topic does not exist", requested.unknown)
	}
}

// topicRequest are the topics that a client named, each once.
type topicRequest struct {
	topics             []Topic
	unknown, forbidden []string
}

func (h *Hub) parseTopics(names []string) (req topicRequest) {
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		if seen[name] {
			continue
		}
		seen[name] = true
		if t, err := ParseTopic(name); err == nil && (t.Kind != Alarms || h.deps.Alarms != nil) {
			req.topics = append(req.topics, t)
		} else {
			req.unknown = append(req.unknown, name)
		}
	}
	return req
}

var errMissingVerdict = errors.New("fewer verdicts than topics")

// allow leaves in req.topics those that id may subscribe to. When Auth cannot tell, allow ends the
// connection and returns false.
func (c *conn) allow(id Identity, req *topicRequest) bool {
	if len(req.topics) == 0 {
		return true
	}
	ctx, cancel := context.WithTimeout(c.hub.ctx, queryTimeout)
	defer cancel()
	topics := req.topics
	verdicts := c.hub.deps.Auth.Allow(ctx, id, names(topics))
	if verdicts == nil {
		return true
	}
	req.topics = nil
	for i, t := range topics {
		err := errMissingVerdict
		if i < len(verdicts) {
			err = verdicts[i]
		}
		switch {
		case err == nil:
			req.topics = append(req.topics, t)
		case errors.Is(err, ErrUnknownTopic):
			req.unknown = append(req.unknown, t.String())
		case errors.Is(err, ErrForbidden):
			req.forbidden = append(req.forbidden, t.String())
		default:
			c.hub.log.WarnContext(ctx, "checking topics failed", "error", err, "user_id", id.UserID,
				"api_key_id", id.APIKeyID)
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

func (c *conn) sendAuthenticated(reqID string, id Identity) {
	frame := authenticatedFrame{
		Type:     "authenticated",
		ID:       reqID,
		UserID:   id.UserID,
		APIKeyID: id.APIKeyID,
	}
	if !id.Expires.IsZero() {
		frame.ExpiresAt = formatTime(id.Expires)
	}
	c.send(frame)
}

func (c *conn) sendError(reqID, code, detail string, topics []string) {
	c.send(errorFrame{Type: "error", ID: reqID, Code: code, Detail: detail, Topics: topics})
}

// send adds a frame to the answers. It ends the connection of a client that goes on sending
// requests without reading the answers.
func (c *conn) send(frame any) {
	if !c.outbox.reply(encode(frame)) {
		c.end(CloseTryLater, "answers are not being taken")
	}
}

// encode returns the JSON of a frame. Its strings are constants or come from valid JSON.
func encode(frame any) []byte {
	b, _ := json.Marshal(frame)
	return b
}
