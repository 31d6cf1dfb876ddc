using System;
using System.Net;
using System.Net.Http;
using System.Text;
using System.Threading;
using System.Threading.Tasks;
using Musecast.Http;

namespace Musecast.Tests
{
    /// <summary>What can go wrong between a service and the gateway, by a handler that answers in its place.</summary>
    public static class HttpCases
    {
        public static async Task ARefusalHasItsCodeAndWhenToTryAgain()
        {
            var busy = await Check.Refused(ErrorCodes.Busy, () => Answering(
                429, "{\"error\":{\"code\":\"BUSY\",\"message\":\"m\",\"retry_after_ms\":1500}}").SayAsync("s", "t"));
            Check.Equal(TimeSpan.FromSeconds(1.5), busy.RetryAfter, "when to try again");
            var starting = await Check.Refused(ErrorCodes.NotReady, () => Answering(
                503, "{\"error\":{\"code\":\"NOT_READY\",\"message\":\"m\"}}", "2").InitializeAsync());
            Check.Equal(TimeSpan.FromSeconds(2), starting.RetryAfter, "from the header");
        }

        public static async Task WhatAnswersInTheGatewaysPlaceIsAnExceptionToo()
        {
            await Check.Refused(ErrorCodes.NotReady, () => Answering(502, "<html>bad gateway</html>").GetStatusAsync());
            await Check.Refused(ErrorCodes.Internal, () => Answering(200, "<html>a router</html>").GetStatusAsync());
            await Check.Refused(ErrorCodes.Internal, () => Answering(418, "").GetStatusAsync());
        }

        public static async Task NobodyThereIsNotReady()
        {
            using var http = new HttpClient { BaseAddress = new Uri("http://127.0.0.1:9/") };
            var client = new MusecastHttp(http);
            await Check.Refused(ErrorCodes.NotReady, () => client.StartSessionAsync());
            Check.That(!await client.IsHealthyAsync(), "not healthy");
        }

        public static async Task TimeoutAndCancellationAreToldApart()
        {
            using var hasty = Silent(TimeSpan.FromMilliseconds(50));
            await Check.Refused(ErrorCodes.NotReady, () => new MusecastHttp(hasty).ChatAsync("s", "t"));
            using var patient = Silent(TimeSpan.FromMinutes(2));
            using var cancel = new CancellationTokenSource(50);
            await Check.Throws<OperationCanceledException>(() => new MusecastHttp(patient).ChatAsync("s", "t", cancel.Token));
        }

        public static async Task AHealthThatIsNotGoodIsNoException()
        {
            var starting = "{\"status\":\"starting\",\"warnings\":[\"no GPU\"],\"error\":{\"code\":\"NOT_READY\",\"message\":\"m\"}}";
            var health = await Answering(503, starting).GetHealthAsync();
            Check.Equal(("starting", false, 1), (health.Status, health.Serves, health.Warnings.Count), "health");
            Check.That(!await Answering(503, starting).IsHealthyAsync(), "not healthy");
        }

        private static HttpClient Silent(TimeSpan timeout) =>
            new HttpClient(new Handler(async (_, cancel) =>
            {
                await Task.Delay(Timeout.Infinite, cancel);
                return new HttpResponseMessage();
            })) { BaseAddress = new Uri("http://gateway/"), Timeout = timeout };

        private static MusecastHttp Answering(int status, string body, string? retryAfter = null) =>
            new MusecastHttp(new HttpClient(new Handler((_, _) =>
            {
                var response = new HttpResponseMessage((HttpStatusCode)status) { Content = new StringContent(body, Encoding.UTF8) };
                if (retryAfter != null)
                {
                    response.Headers.Add("Retry-After", retryAfter);
                }

                return Task.FromResult(response);
            })) { BaseAddress = new Uri("http://gateway/") });

        private sealed class Handler : HttpMessageHandler
        {
            private readonly Func<HttpRequestMessage, CancellationToken, Task<HttpResponseMessage>> _answer;

            public Handler(Func<HttpRequestMessage, CancellationToken, Task<HttpResponseMessage>> answer) => _answer = answer;

            protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancel) =>
                _answer(request, cancel);
        }
    }
}
