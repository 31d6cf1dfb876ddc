using System;
using Musecast.Messages;

namespace Musecast
{
    /// <summary>The closed set of error codes.</summary>
    public static class ErrorCodes
    {
        /// <summary>An argument that does not fit; the message says which.</summary>
        public const string InvalidArgument = "INVALID_ARGUMENT";

        /// <summary>No such session, template, turn or path.</summary>
        public const string NotFound = "NOT_FOUND";

        /// <summary>The id is taken.</summary>
        public const string AlreadyExists = "ALREADY_EXISTS";

        /// <summary>No token, or one that may not do this.</summary>
        public const string Unauthenticated = "UNAUTHENTICATED";

        /// <summary>Larger than the limit in the message.</summary>
        public const string TooLarge = "TOO_LARGE";

        /// <summary>Could not be served in time; <see cref="MusecastException.RetryAfter"/> says when to try again.</summary>
        public const string Busy = "BUSY";

        /// <summary>The daemon is starting, stopping, gone or does not answer.</summary>
        public const string NotReady = "NOT_READY";

        /// <summary>Another version, or an operation that this daemon does not have.</summary>
        public const string Unsupported = "UNSUPPORTED";

        /// <summary>A stage could not; the message says which one and why.</summary>
        public const string Failed = "FAILED";

        /// <summary>An error of the daemon itself, or an answer that is none.</summary>
        public const string Internal = "INTERNAL";
    }

    /// <summary>The one exception of this library: what was asked is not done, and why.</summary>
    /// <remarks>A daemon that cannot be reached or does not answer in time is <see cref="ErrorCodes.NotReady"/>.
    /// A cancelled <c>CancellationToken</c> is an <see cref="OperationCanceledException"/>, as everywhere.</remarks>
    public sealed class MusecastException : Exception
    {
        /// <summary>An error with its code.</summary>
        public MusecastException(string code, string message, TimeSpan? retryAfter = null, Exception? inner = null)
            : base(code + ": " + message, inner)
        {
            Code = code;
            Reason = message;
            RetryAfter = retryAfter;
        }

        /// <summary>One of <see cref="ErrorCodes"/>.</summary>
        public string Code { get; }

        /// <summary>The fact, the limit and the next step.</summary>
        public string Reason { get; }

        /// <summary>When to try again; null where the daemon does not say.</summary>
        public TimeSpan? RetryAfter { get; }

        /// <summary>The exception for an <c>error</c> map of a reply.</summary>
        internal static MusecastException From(Map error)
        {
            var ms = error.Integer("retry_after_ms");
            return new MusecastException(
                error.Text("code") ?? ErrorCodes.Internal,
                error.Text("message") ?? "the daemon refused it without a reason",
                ms is null ? (TimeSpan?)null : TimeSpan.FromMilliseconds(ms.Value));
        }
    }
}
