package oei

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// Page is a part of a list.
type Page[T any] struct {
	Items []T
	Total int // number of items of all pages, when Count was asked for; otherwise -1

	client  *Client
	options callOptions
	next    *url.URL
}

// HasNext tells whether more items follow.
func (p Page[T]) HasNext() bool { return p.next != nil }

// Cursor returns where the next page begins, for the parameter Cursor; "" when this is the last.
func (p Page[T]) Cursor() string {
	if p.next == nil {
		return ""
	}
	return p.next.Query().Get("cursor")
}

// Next returns the next page; an empty one after the last.
func (p Page[T]) Next(ctx context.Context) (Page[T], error) {
	if p.next == nil {
		return Page[T]{Total: p.Total}, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.next.String(), nil)
	return onePage[T](ctx, p.client, p.options, req, err)
}

// onePage sends a request for a page.
func onePage[T any](
	ctx context.Context, c *Client, o callOptions, req *http.Request, err error,
) (Page[T], error) {
	items, header, err := decode[[]T](ctx, c, o, req, err)
	if err != nil {
		return Page[T]{}, err
	}
	p := Page[T]{Items: items, Total: -1, client: c, options: o}
	if total, err := strconv.Atoi(header.Get("X-Total-Count")); err == nil {
		p.Total = total
	}
	if link := nextLink(header); link != "" {
		if p.next, err = req.URL.Parse(link); err != nil || !c.owns(p.next) {
			return Page[T]{}, fmt.Errorf("oei: %s: the next page is at another origin: %q",
				o.operation, link)
		}
	}
	return p, nil
}

// nextLink returns the target of the link with rel="next".
func nextLink(header http.Header) string {
	for _, value := range header.Values("Link") {
		for link := range strings.SplitSeq(value, ",") {
			target, params, ok := strings.Cut(strings.TrimSpace(link), ">")
			if ok && strings.HasPrefix(target, "<") && strings.Contains(params, `rel="next"`) {
				return target[1:]
			}
		}
	}
	return ""
}

// each ranges over the items of all pages, from the one that first requests.
func each[T any](
	ctx context.Context, c *Client, o callOptions, first func() (*http.Request, error),
) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		req, err := first()
		page, err := onePage[T](ctx, c, o, req, err)
		for {
			if err != nil {
				yield(*new(T), err)
				return
			}
			for _, item := range page.Items {
				if !yield(item, nil) {
					return
				}
			}
			if !page.HasNext() {
				return
			}
			page, err = page.Next(ctx)
		}
	}
}
