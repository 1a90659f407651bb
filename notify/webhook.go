package notify

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/oei-ms/oei-ms/store"
)

const (
	secretPrefix = "whsec_"
	// maxResponse is how many bytes of a response are read; they are discarded.
	maxResponse = 4 << 10
)

// secretKey returns the signing key of a channel's secret.
func secretKey(secret string) ([]byte, error) {
	if strings.HasPrefix(secret, store.EncryptedPrefix) {
		return nil, errors.New(
			"was encrypted with another SECRET_KEY; give the channel a new secret",
		)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, secretPrefix))
	if err != nil || !strings.HasPrefix(secret, secretPrefix) || len(key) < 24 || len(key) > 64 {
		return nil, errors.New("has another form; use whsec_ and 24 to 64 bytes in base64")
	}
	return key, nil
}

// signature returns the signature of Standard Webhooks: the HMAC-SHA256 of id, time and body,
// joined by dots.
func signature(key []byte, id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%d.", id, at.Unix())
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// webhooks posts to addresses that guard allows.
type webhooks struct {
	guard  guard
	client *http.Client
}

// newWebhooks returns a client that opens a connection for each request, since guard checks the
// address of each, and that follows neither redirects nor the proxies of the environment.
func newWebhooks(g guard, timeout time.Duration) *webhooks {
	dialer := &net.Dialer{Timeout: timeout, Control: g.control}
	return &webhooks{guard: g, client: &http.Client{
		Timeout: timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
		Transport: &http.Transport{
			DialContext:            dialer.DialContext,
			TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
			TLSHandshakeTimeout:    timeout,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: 16 << 10,
		},
	}}
}

// check returns an error for an address that a webhook may not have, without resolving names.
func (w *webhooks) check(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.Opaque != "":
		return errors.New("is not an http or https address")
	case u.User != nil:
		return errors.New("must not hold a user name or password")
	case u.Fragment != "":
		return errors.New("must not have a fragment")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return errors.New("has an invalid port; use 1 to 65535")
		}
	}
	if addr, err := netip.ParseAddr(u.Hostname()); err == nil {
		return w.guard.check(addr)
	}
	return nil
}

// send posts body to the channel. Any status but 2xx is an error. Errors contain neither the
// address nor the response.
func (w *webhooks) send(
	ctx context.Context, c store.Channel, id string, body []byte, now time.Time,
) (detail string, err error) {
	key, err := secretKey(c.Secret)
	if err != nil {
		return "", permanent{fmt.Errorf("the secret %w", err)}
	}
	if err := w.check(c.URL); err != nil {
		return "", permanent{fmt.Errorf("the address: %w", err)}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL, bytes.NewReader(body))
	if err != nil {
		return "", permanent{errors.New("the address is invalid")}
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "oei-ms")
	req.Header.Set("Idempotency-Key", id)
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", strconv.FormatInt(now.Unix(), 10))
	req.Header.Set("Webhook-Signature", signature(key, id, now, body))
	res, err := w.client.Do(req)
	if err != nil {
		return "", dialError(err)
	}
	defer res.Body.Close()
	// only the status counts
	_, _ = io.CopyN(io.Discard, res.Body, maxResponse)
	detail = "answered " + strconv.Itoa(res.StatusCode)
	switch {
	case res.StatusCode >= 300 && res.StatusCode < 400:
		return detail, fmt.Errorf("%s; redirects are not followed", detail)
	case res.StatusCode < 200 || res.StatusCode > 299:
		return detail, errors.New(detail)
	}
	return detail, nil
}

// dialError returns err without the address, which may contain a secret.
func dialError(err error) error {
	if errors.Is(err, errForbidden) {
		return permanent{errForbidden}
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return errors.New("the receiver did not answer in time")
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	return fmt.Errorf("request failed: %w", err)
}
